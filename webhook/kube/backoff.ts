import { setTimeout as delay } from 'node:timers/promises';

export interface BackoffOptions {
  readonly firstMs: number;
  readonly maxMs: number;
}

/** Waits longer after each failure in a row, spread by chance so that those who fail together do not return together. */
export interface Backoff {
  /** Throws the signal's reason when it aborts. */
  wait(signal: AbortSignal): Promise<void>;
  reset(): void;
}

export function createBackoff(random: () => number, { firstMs, maxMs }: BackoffOptions): Backoff {
  let nextMs = firstMs;
  return {
    wait: async (signal) => {
      const ms = nextMs * (0.5 + random() / 2);
      nextMs = Math.min(nextMs * 2, maxMs);
      await delay(ms, undefined, { signal });
    },
    reset: () => {
      nextMs = firstMs;
    },
  };
}
