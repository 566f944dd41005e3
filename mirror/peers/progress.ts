/** Tells a body that stalls from one that is slow. Looked at `WINDOW_PARTS` times in the window in which so many bytes must come. */
export interface Progress {
  arrived(byteCount: number): void;
  /** It is this side that did not take more in. */
  paused(): void;
  /** Ends a part of the window; answers whether too little came in all parts of it. */
  isStalled(): boolean;
}

/** A stall shows a quarter of a window late at most, where one look at its end would be as late as the window is long. */
export const WINDOW_PARTS = 4;

export function createProgress(bytesMin: number): Progress {
  /** Of the part that is running and those before it; those before the start have nothing to answer for. */
  let parts: readonly number[] = [0, ...Array<number>(WINDOW_PARTS - 1).fill(Number.POSITIVE_INFINITY)];
  const add = (byteCount: number) => {
    const [running = 0, ...past] = parts;
    parts = [running + byteCount, ...past];
  };
  return {
    arrived: add,
    paused: () => add(Number.POSITIVE_INFINITY),
    isStalled: () => {
      const sum = parts.reduce((all, byteCount) => all + byteCount, 0);
      parts = [0, ...parts.slice(0, WINDOW_PARTS - 1)];
      return sum < bytesMin;
    },
  };
}
