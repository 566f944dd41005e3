import type { Digest } from '../../common/oci/digest.ts';

/** A request of this node's containerd that it is being answered. */
export interface HeldRequest {
  readonly digest: Digest;
  /** Bytes of it went out: then ending it early costs containerd nothing but another request. */
  readonly hasBytes: () => boolean;
  /** Ends it early. */
  readonly giveWay: () => void;
}

/**
 * containerd 2 downloads a few layers at a time: each request takes a slot, one to its mirror too, until its body ends. What it
 * was sent to its registry for waits in line for a slot like all others. While this node's slots are taken by what it follows, others
 * wait for what it leads; when each waits for another's, nobody begins. So a request that is being answered gives way: ended
 * early, containerd asks for the rest of it, behind what waited.
 */
export interface Slots {
  /** containerd was sent to its registry for it. */
  led(digest: Digest): void;
  /** Bytes of it are there. */
  begun(digest: Digest): void;
  /** Nothing of it will come any more. */
  over(digest: Digest): void;
  /** Whether `mayLead` would neither wait nor postpone. */
  mayLeadAtOnce(): boolean;
  /**
   * To be called before it is asked who fetches something; waits while answers that are still to come may take the last slot. Resolves with what to call when the answer
   * is there, and `led` was called if this node is to fetch it; or with undefined when it was postponed, as containerd has enough to fetch from its
   * registry, and others may be ready to fetch this: a few times for the same.
   */
  mayLead(digest: Digest, postpone: Postpone): Promise<(() => void) | undefined>;
  /** Answers what to call when the request has ended. */
  hold(request: HeldRequest): () => void;
}

/** Lets the client ask again later; answers whether that can be done. */
export type Postpone = () => Promise<boolean>;

export interface SlotsDeps {
  /** Told of each that gives way. */
  readonly gaveWay: (digest: Digest) => void;
  /** Told of what waits in line behind what this node fetches, or may not end now, again and again: whoever waits for it is to know that it will come. */
  readonly isInLine: (digest: Digest) => void;
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** Calls back every so many milliseconds, until what it answers is called. */
  readonly every: (ms: number, callback: () => void) => () => void;
}

/** containerd's max_concurrent_downloads, where nobody set it. Where it is more, a request now and then gives way in vain. */
const SLOTS = 3;

/** A request that finds a slot has its answer's first byte from a mirror within this time, or waits for somebody else. */
const CHECK_MS = 25;

/** Sooner than anybody gives a silent leader up. */
const IN_LINE_MS = 150;

/** What has not begun by then is not waited for any more by others either. */
const PENDING_MS_MAX = 5_000;

/** containerd takes four answers without a byte, one after another, for a broken registry: it gets two from here, so that one is left for others. */
const EMPTY_MAX = 2;
/** A layer that is asked for after this time is asked for by another pull. */
const EMPTY_KEPT_MS = 60_000;
/** And one that has bytes gives way once in a while, whatever happens. */
const CUT_AGAIN_MS = 1_000;

/** No layer takes so long; its end was missed. */
const GOING_MS_MAX = 10 * 60_000;

/** A node pulls a few dozen layers at a time. */
const LEADS_MAX = 1_024;

interface Lead {
  readonly atMs: number;
  hasBegun: boolean;
  toldAtMs: number;
}

export function createSlots({ now, every, gaveWay: told, isInLine }: SlotsDeps): Slots {
  const leads = new Map<Digest, Lead>();
  const held = new Set<HeldRequest>();
  /** Claims that were not answered yet. */
  const asking = new Set<Promise<void>>();
  /** In the order of the last time. */
  const gaveWay = new Map<Digest, { readonly atMs: number; readonly emptyCount: number }>();
  let stopChecking: (() => void) | undefined;

  const isGoing = ({ atMs, hasBegun }: Lead) => hasBegun && now() - atMs <= GOING_MS_MAX;
  const isPending = ({ atMs, hasBegun }: Lead) => !hasBegun && now() - atMs <= PENDING_MS_MAX;

  const lately = (digest: Digest) => {
    const entry = gaveWay.get(digest);
    return entry !== undefined && now() - entry.atMs <= EMPTY_KEPT_MS ? entry : undefined;
  };

  const note = (digest: Digest, isEmpty: boolean) => {
    const emptyCount = (lately(digest)?.emptyCount ?? 0) + (isEmpty ? 1 : 0);
    told(digest);
    gaveWay.delete(digest);
    gaveWay.set(digest, { atMs: now(), emptyCount });
    const [oldest] = gaveWay.keys();
    if (gaveWay.size > LEADS_MAX && oldest !== undefined) gaveWay.delete(oldest);
  };

  const mayBeEmpty = (digest: Digest) => (lately(digest)?.emptyCount ?? 0) < EMPTY_MAX;

  /** One that has bytes, as that costs nothing; or one that waits for its first. */
  const whoGivesWay = () => {
    const isRested = (digest: Digest) => now() - (lately(digest)?.atMs ?? Number.NEGATIVE_INFINITY) > CUT_AGAIN_MS;
    const all = [...held];
    return (
      all.find(({ digest, hasBytes }) => hasBytes() && isRested(digest)) ??
      all.find(({ digest, hasBytes }) => !hasBytes() && mayBeEmpty(digest))
    );
  };

  const tellInLine = (pending: ReadonlyArray<readonly [Digest, Lead]>) => {
    for (const [digest, lead] of pending) {
      if (now() - lead.toldAtMs < IN_LINE_MS) continue;
      lead.toldAtMs = now();
      isInLine(digest);
    }
  };

  const leadCount = () =>
    leads
      .values()
      .filter((lead) => isGoing(lead) || isPending(lead))
      .toArray().length;

  const check = () => {
    const pending = [...leads].filter(([, lead]) => isPending(lead));
    if (pending.length === 0) {
      stopChecking?.();
      stopChecking = undefined;
      return;
    }
    const goingCount = leads.values().filter(isGoing).toArray().length;
    if (held.size + goingCount < SLOTS) return;
    const chosen = whoGivesWay();
    if (goingCount >= SLOTS || chosen === undefined) tellInLine(pending);
    if (chosen === undefined) return;
    note(chosen.digest, !chosen.hasBytes());
    chosen.giveWay();
  };

  return {
    led: (digest) => {
      leads.delete(digest);
      leads.set(digest, { atMs: now(), hasBegun: false, toldAtMs: now() });
      const [oldest] = leads.keys();
      if (leads.size > LEADS_MAX && oldest !== undefined) leads.delete(oldest);
      stopChecking ??= every(CHECK_MS, check);
    },
    begun: (digest) => {
      const lead = leads.get(digest);
      if (lead !== undefined) lead.hasBegun = true;
    },
    over: (digest) => {
      leads.delete(digest);
    },
    mayLeadAtOnce: () => leadCount() + asking.size < SLOTS,
    mayLead: async (digest, postpone) => {
      // containerd asks for the next layer as soon as one was sent to its registry: others may be about to be.
      while (leadCount() < SLOTS && leadCount() + asking.size >= SLOTS) await Promise.race(asking);
      if (leadCount() >= SLOTS && mayBeEmpty(digest) && (await postpone())) {
        note(digest, true);
        return undefined;
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      asking.add(promise);
      return () => {
        asking.delete(promise);
        resolve();
      };
    },
    hold: (request) => {
      held.add(request);
      return () => {
        held.delete(request);
      };
    },
  };
}
