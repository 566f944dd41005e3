import { setTimeout as delay } from 'node:timers/promises';

export interface PaceDeps {
  /** Milliseconds. */
  readonly now: () => number;
}

/** A bound on how fast bytes leave, shared by all that leave: a token bucket. */
export interface Pace {
  /** How many bytes to send at most between two waits, so that what shares the rate takes turns. */
  readonly pieceBytesMax: number;
  /** Resolves when so many bytes may go, in the order of the calls; rejects when the signal aborts. */
  wait(bytes: number, signal: AbortSignal): Promise<void>;
}

/** What was not used lately may go at once: enough for a manifest and the first bytes of a layer. */
const BURST_MS = 100;
/** How long one upload goes on before the next one has its turn. */
const TURN_MS = 20;
const PIECE_BYTES_MIN = 16 * 1024;

export const UNLIMITED: Pace = { pieceBytesMax: Number.POSITIVE_INFINITY, wait: async () => {} };

export function createPace({ now }: PaceDeps, bytesPerSecond: number): Pace {
  const bytesPerMs = bytesPerSecond / 1000;
  /** When all that was let go until now is gone at that rate. */
  let freeAt = now() - BURST_MS;
  return {
    pieceBytesMax: Math.max(PIECE_BYTES_MIN, Math.round(bytesPerMs * TURN_MS)),
    wait: async (bytes, signal) => {
      const startsAt = Math.max(freeAt, now() - BURST_MS);
      freeAt = startsAt + bytes / bytesPerMs;
      const ms = startsAt - now();
      if (ms > 0) await delay(ms, undefined, { signal });
    },
  };
}
