import type { Logger } from './log.ts';

/** Something that is started once and stopped once. Whoever composes it starts it after what it needs and stops it before. */
export interface Component {
  /** Resolves when the component does its work. Throws a MiroirError when it cannot; then `stop` need not be called. */
  start(signal: AbortSignal): Promise<void>;
  /** Resolves when all it held is released. Safe to call twice. */
  stop(): Promise<void>;
}

/**
 * Parts as one component. Each is started before the next is asked for, and they are stopped in the reverse order, all of them, also when
 * one cannot be. When one does not start, those before it are stopped and the error rises.
 */
export function createAssembly(
  { log }: { readonly log: Pick<Logger, 'warn'> },
  parts: (signal: AbortSignal) => AsyncIterable<Component>,
): Component {
  const started: Component[] = [];

  async function stop(): Promise<void> {
    for (const component of started.splice(0).toReversed()) {
      try {
        await component.stop();
      } catch (error) {
        log.warn('A part did not stop cleanly', { error });
      }
    }
  }

  return {
    start: async (signal) => {
      try {
        for await (const component of parts(signal)) {
          await component.start(signal);
          started.push(component);
        }
      } catch (error) {
        await stop();
        throw error;
      }
    },
    stop,
  };
}

/** What goes on from start to stop, when the signal aborts. It throws nothing: whatever goes wrong meanwhile it tells and tries again. */
export function createLoop(run: (signal: AbortSignal) => Promise<void>): Component {
  const stopping = new AbortController();
  let running: Promise<void> | undefined;
  return {
    start: async () => {
      running = run(stopping.signal);
    },
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}

/** What runs already and is only to be closed at the end. */
export function closing(close: () => void): Component {
  return { start: async () => {}, stop: async () => close() };
}
