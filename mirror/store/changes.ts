import { setTimeout as delay } from 'node:timers/promises';
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

/** A commit is a rename, a chmod and an event; looking once at all three costs a moment. */
const GATHER_MS = 3;

export function createChangeInbox(): ChangeInbox {
  let everything = false;
  let digests = new Set<Digest>();
  let images = new Set<string>();
  let wake = () => {};
  const isEmpty = () => !everything && digests.size === 0 && images.size === 0;

  return {
    addEverything() {
      everything = true;
      wake();
    },
    addDigest(digest) {
      digests.add(digest);
      wake();
    },
    addImage(name) {
      images.add(name);
      wake();
    },
    async take(signal) {
      if (isEmpty() && !signal.aborted) {
        await new Promise<void>((resolve) => {
          wake = resolve;
          signal.addEventListener('abort', wake, { once: true });
        });
        signal.removeEventListener('abort', wake);
      }
      await delay(GATHER_MS, undefined, { signal }).catch(() => {});
      const taken = { everything, digests, images };
      everything = false;
      digests = new Set();
      images = new Set();
      return taken;
    },
  };
}
