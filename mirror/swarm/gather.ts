import { setImmediate } from 'node:timers/promises';

interface Question<T> {
  /** Undefined: there will be no answer. */
  readonly answer: Promise<T | undefined>;
  /** How long the answer is worth waiting for, once another has come. */
  readonly patienceMs: number;
}

interface GatherOptions {
  /** How long to wait for a first answer. */
  readonly deadlineMs: number;
}

/**
 * Yields answers as they come. Ends when all have come or will not; when some have and the others are past what they are
 * worth waiting for, so that one who hangs holds nobody up; at the deadline; or when the signal aborts.
 */
export async function* gather<T>(
  questions: ReadonlyArray<Question<T>>,
  { deadlineMs }: GatherOptions,
  signal: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  const startedAt = performance.now();
  const open = new Set(questions);
  const answers: T[] = [];
  let hasAnswer = false;
  let wake: () => void = () => {};

  for (const question of questions) {
    void question.answer.then((answer) => {
      open.delete(question);
      if (answer !== undefined) {
        hasAnswer = true;
        answers.push(answer);
      }
      wake();
    });
  }
  const onAbort = () => wake();
  signal.addEventListener('abort', onAbort);
  try {
    for (let wasHeldUp = false; ; ) {
      while (answers.length > 0 && !signal.aborted) yield answers.shift() as T;
      if (open.size === 0 || signal.aborted) return;
      const patienceMs = hasAnswer ? Math.max(...[...open].map((question) => question.patienceMs)) : deadlineMs;
      const leftMs = startedAt + patienceMs - performance.now();
      if (leftMs > 0) {
        await untilWoken(leftMs, (resolve) => {
          wake = resolve;
        });
      } else if (wasHeldUp) {
        return;
      } else {
        // Timers come before sockets: if this process was held up, the answers may be there and only not read yet.
        wasHeldUp = true;
        await setImmediate();
      }
    }
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

async function untilWoken(timeoutMs: number, register: (wake: () => void) => void): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, Math.ceil(timeoutMs));
    register(() => {
      clearTimeout(timer);
      resolve();
    });
  });
}
