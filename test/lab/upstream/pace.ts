/** How late a timer may wake a stream that then still catches up. Longer pauses are idleness and earn no burst. */
const CATCH_UP_MS = 50;

/** A clock that runs ahead with every byte: whoever sends asks it how long to wait before sending more. */
export interface Pace {
  /** Books bytes that were just sent; answers in how many milliseconds the next ones may be. */
  book(bytes: number, nowMs: number): number;
}

/** One Pace shared by several streams divides its rate evenly among them, since they take turns in booking. */
export function createPace(bytesPerSecond: number): Pace {
  let freeAtMs = 0;
  return {
    book: (bytes, nowMs) => {
      freeAtMs = Math.max(freeAtMs, nowMs - CATCH_UP_MS) + (bytes / bytesPerSecond) * 1000;
      return Math.max(0, freeAtMs - nowMs);
    },
  };
}
