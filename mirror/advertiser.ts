import { setTimeout as delay } from 'node:timers/promises';
import type { Component } from '../common/lifecycle.ts';
import type { Logger } from '../common/log.ts';
import type { Digest } from '../common/oci/digest.ts';
import { type ChangeType, createHoldings } from './holdings.ts';
import type { Store, StoreEvent } from './store/store.ts';
import type { Advertisement, Key, Router } from './swarm/router.ts';

/** What a node may advertise. containerd on a busy node holds a few thousand digests; this is a ceiling, not a budget. */
const KEYS_MAX = 250_000;

/** Keys told to the swarm at once; while they are on their way the next batch gathers. */
const BATCH_KEYS_MAX = 2048;

/** A batch that the swarm has not taken in by then is left to the router, which keeps what it was told. */
const BATCH_DEADLINE_MS = 5_000;

/** How long to wait before reading the store again after it failed. */
const RETRY_DELAY_MS = 1_000;

export interface AdvertiserMetrics {
  ociEvent(type: ChangeType): void;
  held(digests: number, tags: number): void;
}

export interface AdvertiserDeps {
  readonly store: Pick<Store, 'watch'>;
  readonly router: Pick<Router, 'advertise' | 'withdraw'>;
  readonly log: Logger;
  readonly metrics: AdvertiserMetrics;
  /** Told of all content that is there, and as it comes. */
  readonly arrived: (digest: Digest) => void;
}

export interface Advertiser extends Component {
  /** Whether all that the store held at the start has been told to the swarm. */
  isReady(): boolean;
}

/** Tells the swarm what this node holds, and leaves one log line for every change of it. */
export function createAdvertiser(deps: AdvertiserDeps): Advertiser {
  const { store, router, log, metrics } = deps;
  const stopping = new AbortController();
  const holdings = createHoldings({ keysMax: KEYS_MAX });
  const outbox = createOutbox(stopping.signal);
  let isListed = false;
  let isReady = false;
  let hasWarned = false;
  let running: Promise<unknown> = Promise.resolve();

  function note(event: StoreEvent): void {
    if (event.type === 'content-created') deps.arrived(event.digest);
    for (const { type, entry } of holdings.apply(event)) {
      outbox.put(entry.key, type === 'DELETE' ? WITHDRAWN : entry);
      // What the node held before the mirror came is no change.
      if (!isListed) continue;
      metrics.ociEvent(type);
      log.info('OCI event', { key: entry.key, type });
    }
    if (event.type === 'listed') {
      isListed = true;
      outbox.wake();
    }
    if (holdings.isFull && !hasWarned) {
      hasWarned = true;
      log.warn('Too much content to advertise: the rest stays unknown to peers', { keysMax: KEYS_MAX });
    }
  }

  async function follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      holdings.relist();
      try {
        for await (const event of store.watch(signal)) note(event);
      } catch (error) {
        if (signal.aborted) return;
        log.warn('Cannot read what this node holds; trying again', { error, retryDelayMs: RETRY_DELAY_MS });
      }
      await delay(RETRY_DELAY_MS, undefined, { signal }).catch(() => {});
    }
  }

  async function announce(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const { withdrawn, entries } = outbox.take(BATCH_KEYS_MAX);
      if (withdrawn.length === 0 && entries.length === 0) {
        isReady ||= isListed;
        await outbox.filled();
        continue;
      }
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(BATCH_DEADLINE_MS)]);
      try {
        if (withdrawn.length > 0) await router.withdraw(withdrawn, deadline);
        if (entries.length > 0) await router.advertise(entries, deadline);
      } catch (error) {
        if (!signal.aborted) log.warn('The swarm was slow to take in what this node holds', { error });
      }
      metrics.held(holdings.digestCount, holdings.tagCount);
    }
  }

  return {
    start: async () => {
      running = Promise.all([follow(stopping.signal), announce(stopping.signal)]);
    },
    stop: async () => {
      stopping.abort();
      await running;
    },
    isReady: () => isReady,
  };
}

const WITHDRAWN = Symbol('withdrawn');

/** What is still to be told, the last word on each key only. It never outgrows the holdings. */
function createOutbox(signal: AbortSignal) {
  const pending = new Map<Key, Advertisement | typeof WITHDRAWN>();
  let wake = () => {};
  signal.addEventListener('abort', () => wake(), { once: true });

  return {
    put: (key: Key, what: Advertisement | typeof WITHDRAWN) => {
      pending.set(key, what);
      wake();
    },
    wake: () => wake(),
    /** Resolves at the next `put`, `wake` or the signal's abort. */
    filled: () =>
      new Promise<void>((resolve) => {
        wake = resolve;
        if (signal.aborted) resolve();
      }),
    take: (countMax: number) => {
      const withdrawn: Key[] = [];
      const entries: Advertisement[] = [];
      for (const [key, what] of pending) {
        if (withdrawn.length + entries.length >= countMax) break;
        pending.delete(key);
        if (what === WITHDRAWN) withdrawn.push(key);
        else entries.push(what);
      }
      return { withdrawn, entries };
    },
  };
}
