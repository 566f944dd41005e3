/** Memory of one size that is kept to be used again, for a while: asking the system for it anew costs more than filling it. */
export interface SpareMemory {
  /** What was given back, or new memory, whose content is whatever was there. */
  take(): Buffer;
  give(buffer: Buffer): void;
  /** How many wait to be taken. */
  readonly count: number;
}

export interface SpareMemoryOptions {
  readonly byteCount: number;
  /** So many are kept; what is given beyond them is left to the collector. */
  readonly countMax: number;
}

/** What nobody used for so long is given back to the system: a mirror at rest is small. */
const IDLE_MS = 10_000;

export function createSpareMemory({ byteCount, countMax }: SpareMemoryOptions): SpareMemory {
  const spare: Buffer[] = [];
  let isTrimming = false;

  const trimLater = () => {
    if (isTrimming) return;
    isTrimming = true;
    setTimeout(() => {
      isTrimming = false;
      spare.pop();
      if (spare.length > 0) trimLater();
    }, IDLE_MS / countMax).unref();
  };

  return {
    take: () => spare.pop() ?? Buffer.allocUnsafeSlow(byteCount),
    give: (buffer) => {
      if (spare.length >= countMax) return;
      spare.push(buffer);
      trimLater();
    },
    get count() {
      return spare.length;
    },
  };
}
