import type { Digest } from '../../common/oci/digest.ts';
import type { SendableFile } from './send-file.ts';

/**
 * What this node's containerd was made to ask for again, behind other layers. Until it does nothing more of it comes here, so whoever gets it from
 * this node while it arrives is sent what there is, and then ends: it finds somebody who is getting on sooner than it would find out by waiting.
 */
export interface PutOff {
  add(digest: Digest): void;
  /** It was asked for again, or nothing of it will come any more. */
  delete(digest: Digest): void;
  has(digest: Digest): boolean;
  /** The same growth, which is 'aborted' when all there is was read and the content is put off. */
  until(digest: Digest, growth: Growth): Growth;
}

type Growth = NonNullable<SendableFile['growth']>;

/** A node pulls a few dozen layers at a time. */
const DIGESTS_MAX = 1_024;

export function createPutOff(): PutOff {
  /** In their order. */
  const digests = new Set<Digest>();
  const waiting = new Map<Digest, Set<() => void>>();

  const listen = (digest: Digest, wake: () => void) => {
    const all = waiting.get(digest) ?? new Set();
    waiting.set(digest, all.add(wake));
    return () => {
      all.delete(wake);
      if (all.size === 0 && waiting.get(digest) === all) waiting.delete(digest);
    };
  };

  return {
    add: (digest) => {
      digests.delete(digest);
      digests.add(digest);
      const [oldest] = digests;
      if (digests.size > DIGESTS_MAX && oldest !== undefined) digests.delete(oldest);
      for (const wake of waiting.get(digest) ?? []) wake();
    },
    delete: (digest) => {
      digests.delete(digest);
    },
    has: (digest) => digests.has(digest),
    until: (digest, growth) => ({
      availableBytes: growth.availableBytes,
      grown: async (offset, signal) => {
        const { promise: putOff, resolve } = Promise.withResolvers<'aborted'>();
        const ending = new AbortController();
        // What is there already is found first.
        const wake = () => void setImmediate(resolve, 'aborted');
        const forget = listen(digest, wake);
        if (digests.has(digest)) wake();
        try {
          return await Promise.race([growth.grown(offset, AbortSignal.any([signal, ending.signal])), putOff]);
        } finally {
          forget();
          ending.abort();
        }
      },
    }),
  };
}
