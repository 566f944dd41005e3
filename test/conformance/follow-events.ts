import type { TestContext } from 'node:test';

/** What is told is told within this, on a busy machine too. */
const EVENT_DEADLINE_MS = 15_000;

export interface FollowedEvents<E> {
  /** All so far. */
  readonly seen: readonly E[];
  /** Resolves with all events so far once one from `start` on is as described. */
  until(isWanted: (event: E) => boolean, start?: number): Promise<readonly E[]>;
  /** Resolves when the source ends. */
  readonly ended: Promise<void>;
}

/** Consumes events for as long as the test runs, or until the signal aborts. */
export function followEvents<E>(
  t: TestContext,
  events: (signal: AbortSignal) => AsyncIterable<E>,
  signal?: AbortSignal,
): FollowedEvents<E> {
  const stopping = new AbortController();
  const seen: E[] = [];
  let wake = () => {};
  const ended = (async () => {
    const until = signal === undefined ? stopping.signal : AbortSignal.any([signal, stopping.signal]);
    for await (const event of events(until)) {
      seen.push(event);
      wake();
    }
  })();
  t.after(async () => {
    stopping.abort();
    await ended;
  });
  return {
    seen,
    ended,
    async until(isWanted, start = 0) {
      const deadline = AbortSignal.timeout(EVENT_DEADLINE_MS);
      while (!seen.slice(start).some(isWanted)) {
        await new Promise<void>((resolve, reject) => {
          wake = resolve;
          deadline.addEventListener('abort', () =>
            reject(new Error(`Not among the events: ${String(isWanted)}\n${JSON.stringify(seen, undefined, 1)}`)),
          );
        });
      }
      return seen.slice();
    },
  };
}
