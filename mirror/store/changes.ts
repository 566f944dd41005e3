import type { Digest } from '../../common/oci/digest.ts';

/** What may have changed since it was last looked at. Each name is there once, however often it was told. */
export interface Changes {
  readonly everything: boolean;
  readonly digests: ReadonlySet<Digest>;
  readonly images: ReadonlySet<string>;
}

export interface ChangeInbox {
  readonly addEverything: () => void;
  readonly addDigest: (digest: Digest) => void;
  readonly addImage: (name: string) => void;
  /** Resolves with what has gathered, once there is anything; with nothing when the signal aborts. */
  take(signal: AbortSignal): Promise<Changes>;
}

/** An image is the end of its pull, and all of its content is there: that is told soon. */
const GATHER_MS = 3;
/**
 * A commit is a rename, a chmod and an event, and containerd knows of it milliseconds after its file is there: who looks at once looks several
 * times, while the pull needs the processor. Meanwhile claims tell others that it is here.
 */
const GATHER_DIGESTS_MS = 25;

export function createChangeInbox(): ChangeInbox {
  let everything = false;
  let digests = new Set<Digest>();
  let images = new Set<string>();
  let wake = () => {};
  const isUrgent = () => everything || images.size > 0;

  /** Resolves when the signal aborts, when the time is over, if there is one, or when there is news, if that counts. */
  const waited = async (signal: AbortSignal, { ms, orNews }: { ms?: number; orNews: boolean }): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (orNews) wake = resolve;
    const timer = ms === undefined ? undefined : setTimeout(resolve, ms);
    const stop = () => resolve();
    signal.addEventListener('abort', stop, { once: true });
    if (!signal.aborted) await promise;
    signal.removeEventListener('abort', stop);
    clearTimeout(timer);
  };

  return {
    addEverything() {
      everything = true;
      wake();
    },
    addDigest(digest) {
      const isFirst = digests.size === 0;
      digests.add(digest);
      if (isFirst) wake(); // Those that follow wait with it.
    },
    addImage(name) {
      images.add(name);
      wake();
    },
    async take(signal) {
      if (digests.size === 0 && !isUrgent()) await waited(signal, { orNews: true });
      if (!isUrgent()) await waited(signal, { ms: GATHER_DIGESTS_MS, orNews: true });
      await waited(signal, { ms: GATHER_MS, orNews: false });
      const taken = { everything, digests, images };
      everything = false;
      digests = new Set();
      images = new Set();
      return taken;
    },
  };
}
