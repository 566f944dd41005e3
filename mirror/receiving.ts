import { setTimeout as delay } from 'node:timers/promises';
import type { Component } from '../common/lifecycle.ts';
import type { Logger } from '../common/log.ts';
import type { Digest } from '../common/oci/digest.ts';
import type { OpenIngest, Store } from './store/store.ts';
import { digestKey, type Router } from './swarm/router.ts';

export interface ReceivingDeps {
  readonly store: Pick<Store, 'watchIngests' | 'ingest'>;
  readonly router: Pick<Router, 'receiving' | 'gaveUp'>;
  readonly log: Logger;
  /** The first bytes of it are here. */
  readonly begun: (digest: Digest) => void;
  /** No more of it will come: it is whole, or given up. */
  readonly ended: (digest: Digest) => void;
}

/** How often the progress of what is arriving is told: several times in what a silent leader is given. */
const TELL_MS = 500;

/** What is whole is verified, and written to the disk, before it is in the store: seconds where a disk is busy, and others get it from here meanwhile. */
const WHOLE_TELLINGS_MAX = 60;

/** A node pulls a few layers at a time. What is more is not followed by others, and is found when it is whole. */
const FOLLOWED_MAX = 128;

/** Tells the swarm what this node is receiving, so that others can get it from here while it comes. */
export function createReceiving({ store, router, log, begun, ended: over }: ReceivingDeps): Component {
  const stopping = new AbortController();
  const followed = new Map<Digest, AbortController>();
  let running: Promise<unknown> = Promise.resolve();

  /** Tells at the first bytes, and then from time to time; also when there are none, as they may be on their way to this node. */
  async function follow(digest: Digest, ended: AbortSignal): Promise<void> {
    const ingest = await store.ingest(digest, ended);
    if (ingest === undefined) return;
    try {
      let { availableBytes } = ingest;
      let hasBegun = false;
      let hasWaited = false;
      while (!ended.aborted && availableBytes < ingest.sizeBytes) {
        if (availableBytes > 0 && !hasBegun) begun(digest);
        hasBegun = availableBytes > 0;
        // Without a byte it is followed by nobody, and who decides about claims has just been asked, or is about to be.
        if (hasBegun || hasWaited)
          router.receiving([{ key: digestKey(digest), offset: availableBytes, isWhole: false }]);
        hasWaited = true;
        // The first bytes are told at once, as others wait for them; more of them from time to time.
        if (availableBytes > 0) await delay(TELL_MS, undefined, { signal: ended });
        const grown = await nextGrowth(ingest, availableBytes, ended);
        if (grown === 'aborted') return router.gaveUp([digestKey(digest)]);
        availableBytes = grown;
      }
      for (let tellings = 0; !ended.aborted && tellings < WHOLE_TELLINGS_MAX; tellings += 1) {
        router.receiving([{ key: digestKey(digest), offset: ingest.sizeBytes, isWhole: true }]);
        await delay(TELL_MS, undefined, { signal: ended });
      }
    } finally {
      await ingest.file.close();
    }
  }

  async function watch(signal: AbortSignal): Promise<void> {
    for await (const event of store.watchIngests(signal)) {
      if (event.type === 'ingest-ended') {
        followed.get(event.digest)?.abort();
        over(event.digest);
        if (!event.committed) router.gaveUp([digestKey(event.digest)]);
      } else if (followed.size < FOLLOWED_MAX && !followed.has(event.digest)) {
        const ending = new AbortController();
        followed.set(event.digest, ending);
        follow(event.digest, AbortSignal.any([signal, ending.signal]))
          .catch((error: unknown) => {
            if (!ending.signal.aborted && !signal.aborted) log.warn('Cannot follow what is arriving', { error });
          })
          .finally(() => followed.delete(event.digest));
      }
    }
  }

  return {
    start: async () => {
      running = watch(stopping.signal).catch((error: unknown) => {
        if (!stopping.signal.aborted) log.error('Cannot tell what is arriving', { error });
      });
    },
    stop: async () => {
      stopping.abort();
      await running;
    },
  };
}

/** Resolves when more has come than `offset`, or with `offset` when it is time to tell again. */
async function nextGrowth(ingest: OpenIngest, offset: number, ended: AbortSignal): Promise<number | 'aborted'> {
  const tick = AbortSignal.any([ended, AbortSignal.timeout(TELL_MS)]);
  try {
    return await ingest.grown(offset, tick);
  } catch (error) {
    if (tick.aborted) return offset;
    throw error;
  }
}
