import { createClaims } from './claims.ts';
import { closestPlaces, type Place } from './placement.ts';
import type { Key, Want } from './router.ts';
import type { Session, WireClaim } from './session.ts';
import { FRAME_PROVIDERS_MAX, hashKey, type KeyHash, type WireProgress, type WireProvider } from './wire.ts';

interface ClaimDeskDeps {
  readonly selfId: () => string;
  readonly isSelfKeeper: () => boolean;
  /** Where this node itself stands. */
  readonly ownPlace: () => Place;
  readonly places: () => ReadonlyArray<Place & { readonly session: Session }>;
  readonly addressOf: (peerId: string) => string | undefined;
  /** How long a lookup waits for it. */
  readonly patienceMs: (session: Session) => number;
  /** Who has all of it, by what this node knows; this node itself without a name. */
  readonly holders: (key: KeyHash, asker: string) => readonly WireProvider[];
  /** Monotonic milliseconds. */
  readonly now: () => number;
}

/**
 * Claims between nodes: for each key one member, the one closest to it, knows who is receiving it. This is that member's side for the keys
 * of this node, and the way to it for the others.
 */
export interface ClaimDesk {
  /**
   * Undefined when who should know does not answer: to a first question not as fast as to a lookup. `from` is what the answer leaves without
   * a name.
   */
  ask(key: Key, want: Want): Promise<{ readonly claim: WireClaim; readonly from?: Session } | undefined>;
  receiving(entries: readonly WireProgress[]): void;
  gaveUp(keys: readonly KeyHash[]): void;

  answer(key: KeyHash, peerId: string, want: Want): WireClaim;
  received(peerId: string, entries: readonly WireProgress[]): void;
  release(peerId: string, keys: readonly KeyHash[]): void;
  removePeer(peerId: string): void;
}

/** An answer takes as long as a lookup; on a node that is busy unpacking what all pull, a few hundred milliseconds. Without one a second copy is taken. */
const ANSWER_MS_MAX = 1_000;
/** Who gave none hangs, as like as not. A pull of many layers must not be held up by it for each, until it is gone from the swarm. */
const ANSWER_AGAIN_MS_MAX = 100;
const LATE_MS = 10_000;

export function createClaimDesk(deps: ClaimDeskDeps): ClaimDesk {
  const { now } = deps;
  const claims = createClaims();
  /** When who was asked last gave no answer. */
  const lateAt = new WeakMap<Session, number>();

  /** Undefined: this node itself. */
  const deskOf = (key: KeyHash): Session | undefined => {
    const others: ReadonlyArray<Place & { readonly session?: Session }> = deps.places();
    const all = deps.isSelfKeeper() ? [...others, deps.ownPlace()] : others;
    return closestPlaces<Place & { readonly session?: Session }>(all, key, 1)[0]?.session;
  };

  const name = (peerId: string): WireProvider[] => {
    if (peerId === deps.selfId()) return [{}];
    const address = deps.addressOf(peerId);
    return address === undefined ? [] : [{ peer: { peerId, address } }];
  };

  const answer = (key: KeyHash, peerId: string, want: Want): WireClaim => {
    const holders = deps.holders(key, peerId).map(({ peer }): WireProvider => (peer === undefined ? {} : { peer }));
    if (holders.length > 0 && want.isFirst === true) return { role: 'held', providers: holders };
    if (holders.length > 0) {
      const receivers = claims.receivers(key, peerId, want.offset, now()).flatMap(name);
      return { role: 'held', providers: [...holders, ...receivers].slice(0, FRAME_PROVIDERS_MAX) };
    }
    const claim = claims.claim(key, peerId, want, now());
    if (claim.role === 'lead') return { role: 'lead', providers: [] };
    return { role: 'follow', providers: claim.receivers.flatMap(name) };
  };

  const received = (peerId: string, entries: readonly WireProgress[]) => {
    for (const { key, offset, isWhole } of entries) claims.progress(key, peerId, offset, now(), isWhole);
  };

  const release = (peerId: string, keys: readonly KeyHash[]) => {
    for (const key of keys) claims.release(key, peerId);
  };

  const groupedByDesk = <T>(items: readonly T[], keyOf: (item: T) => KeyHash) =>
    Map.groupBy(items, (item) => deskOf(keyOf(item)));

  return {
    answer,
    received,
    release,
    removePeer: (peerId) => claims.removePeer(peerId),
    ask: async (key, want) => {
      const hash = hashKey(key);
      const desk = deskOf(hash);
      if (desk === undefined) return { claim: answer(hash, deps.selfId(), want) };
      const isLate = now() - (lateAt.get(desk) ?? Number.NEGATIVE_INFINITY) < LATE_MS;
      if (want.isFirst === true) {
        const claim = isLate ? undefined : await withinMs(desk.claim(hash, want), deps.patienceMs(desk));
        return claim && { claim, from: desk };
      }
      const claim = await withinMs(desk.claim(hash, want), isLate ? ANSWER_AGAIN_MS_MAX : ANSWER_MS_MAX);
      if (claim === undefined) lateAt.set(desk, now());
      else lateAt.delete(desk);
      return claim && { claim, from: desk };
    },
    receiving: (entries) => {
      for (const [desk, mine] of groupedByDesk(entries, ({ key }) => key)) {
        if (desk === undefined) received(deps.selfId(), mine);
        else void desk.receive(mine);
      }
    },
    gaveUp: (keys) => {
      for (const [desk, mine] of groupedByDesk(keys, (key) => key)) {
        if (desk === undefined) release(deps.selfId(), mine);
        else void desk.release(mine);
      }
    },
  };
}

async function withinMs<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const { promise: over, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), ms);
  try {
    return await Promise.race([promise, over]);
  } finally {
    clearTimeout(timer);
  }
}
