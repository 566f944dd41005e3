import type { Digest } from '../../common/oci/digest.ts';
import type { IngestEvent } from './store.ts';

/** What arrives, told to who listens. */
export interface IngestNews {
  started(digest: Digest, sizeBytes: number): void;
  /** Tells nothing when it had not started. */
  ended(digest: Digest, committed: boolean): void;
  /** As Store.watchIngests says. */
  follow(signal: AbortSignal): AsyncGenerator<IngestEvent>;
}

/**
 * A listener that is busy finds the latest about each digest, not all that happened meanwhile. The same digest may arrive twice at
 * once: it has ended when the last of them has, and is committed when one of them was.
 */
export function createIngestNews(): IngestNews {
  const arriving = new Map<Digest, { readonly sizeBytes: number; count: number; committed: boolean }>();
  const listeners = new Set<(event: IngestEvent) => void>();
  const tell = (event: IngestEvent) => {
    for (const listen of listeners) listen(event);
  };

  return {
    started(digest, sizeBytes) {
      const known = arriving.get(digest);
      if (known !== undefined) known.count += 1;
      else {
        arriving.set(digest, { sizeBytes, count: 1, committed: false });
        tell({ type: 'ingest-started', digest, sizeBytes });
      }
    },

    ended(digest, committed) {
      const known = arriving.get(digest);
      if (known === undefined) return;
      known.count -= 1;
      known.committed ||= committed;
      if (known.count > 0) return;
      arriving.delete(digest);
      tell({ type: 'ingest-ended', digest, committed: known.committed });
    },

    async *follow(signal) {
      let wake = () => {};
      const unread = new Map<Digest, IngestEvent>();
      const listen = (event: IngestEvent) => {
        unread.delete(event.digest);
        unread.set(event.digest, event);
        wake();
      };
      const stop = () => wake();
      for (const [digest, { sizeBytes }] of arriving) listen({ type: 'ingest-started', digest, sizeBytes });
      listeners.add(listen);
      signal.addEventListener('abort', stop);
      try {
        while (!signal.aborted) {
          const events = [...unread.values()];
          unread.clear();
          yield* events;
          if (unread.size > 0 || signal.aborted) continue;
          await new Promise<void>((resolve) => {
            wake = resolve;
          });
        }
      } finally {
        listeners.delete(listen);
        signal.removeEventListener('abort', stop);
      }
    },
  };
}
