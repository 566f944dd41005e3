import type { Want } from './router.ts';
import type { KeyHash } from './wire.ts';

/** What a node that wants content nobody holds is to do: fetch it from the registry, or get it from those who receive it. */
export type ClaimAnswer =
  | { readonly role: 'lead' }
  /** In the order to ask them. */
  | { readonly role: 'follow'; readonly receivers: readonly string[] };

/**
 * Who is receiving what, as the member knows that keeps the key: so that of all nodes that want the same at the same moment one goes
 * to the registry, and the others form a tree below it. All times are monotonic milliseconds.
 */
export interface Claims {
  /** One that asks again keeps its turn. */
  claim(key: KeyHash, peerId: string, want: Want, now: number): ClaimAnswer;
  /** Those who receive it, as for `follow`, without asking anybody to lead. */
  receivers(key: KeyHash, peerId: string, offset: number, now: number): readonly string[];
  /** One that has all of it gets on as long as it says so. */
  progress(key: KeyHash, peerId: string, offset: number, now: number, isWhole?: boolean): void;
  /** It has all of it, or gave up. */
  release(key: KeyHash, peerId: string): void;
  removePeer(peerId: string): void;
  readonly size: number;
}

/** A leader that had bytes, and has shown nothing new for this long, leads no more: who asks next goes to the registry. */
export const LEAD_SILENT_MS_MAX = 1_900;
/** What is less than this in that time is nothing new: 17 KB/s, slower than any registry that is worth waiting for. */
const PROGRESS_BYTES_MIN = 32 * 1024;
/** One that has shown no byte is waited for as long as who asks finds right for the registry, within these. */
const PATIENCE_MS_MIN = 300;
const PATIENCE_MS_MAX = 10_000;
/** Receivers tell of their progress every second. */
const RECEIVER_SILENT_MS_MAX = 10_000;
/** Who gets no more for now, as its containerd has put it off, is followed only when nobody else can be. */
const STALLED_MS = 1_200;
/** A leader that feeds two keeps up with the registry even where its card is only twice as fast. */
const CHILDREN_FIRST = 2;
/** Who is told to follow tries a few of them. */
const RECEIVERS_NAMED_MAX = 8;
/** Beyond these nobody is coordinated: each goes to the registry, as without a mirror. */
const KEYS_MAX = 8_192;
const RECEIVERS_A_KEY_MAX = 2_048;
/** A node pulls a few dozen layers at a time: who claims more takes no room from the others. */
const KEYS_A_PEER_MAX = 512;
/** How often those who are silent are looked for. */
const SWEEP_MS = 1_000;

interface Receiver {
  readonly peerId: string;
  /** In the order in which they came. */
  readonly turn: number;
  offset: number;
  heardAt: number;
  /** When it last had markedly more than before, and how much. */
  grewAt: number;
  grewTo: number;
  parent: string | undefined;
  depth: number;
}

interface Claim {
  readonly receivers: Map<string, Receiver>;
  turns: number;
  leader: string | undefined;
  /** When the leader was told, or showed something new. */
  ledAt: number;
}

export function createClaims(): Claims {
  const claims = new Map<KeyHash, Claim>();
  const byPeer = new Map<string, Set<KeyHash>>();
  let sweptAt = Number.NEGATIVE_INFINITY;

  const forget = (key: KeyHash, claim: Claim, peerId: string): void => {
    claim.receivers.delete(peerId);
    if (claim.leader === peerId) claim.leader = undefined;
    if (claim.receivers.size === 0) claims.delete(key);
    const keys = byPeer.get(peerId);
    keys?.delete(key);
    if (keys?.size === 0) byPeer.delete(peerId);
  };

  /** Forgets who is silent. */
  const prune = (key: KeyHash, claim: Claim, now: number): void => {
    for (const { peerId, heardAt } of claim.receivers.values()) {
      if (now - heardAt > RECEIVER_SILENT_MS_MAX) forget(key, claim, peerId);
    }
    if (now - claim.ledAt > silenceMax(claim, PATIENCE_MS_MAX)) claim.leader = undefined;
  };

  /** Of claims that nobody asks about again, nothing else would be forgotten. Not for each who asks: that is many, and takes a while. */
  const forgetSilent = (now: number): void => {
    if (now - sweptAt < SWEEP_MS) return;
    sweptAt = now;
    for (const [key, claim] of claims) prune(key, claim, now);
  };

  const enter = (key: KeyHash, peerId: string, now: number): { claim: Claim; receiver: Receiver } | undefined => {
    const known = claims.get(key);
    if (known !== undefined) prune(key, known, now);
    const claim = claims.get(key) ?? { receivers: new Map(), turns: 0, leader: undefined, ledAt: now };
    let receiver = claim.receivers.get(peerId);
    if (receiver === undefined) {
      const keys = byPeer.get(peerId) ?? new Set<KeyHash>();
      if (keys.size >= KEYS_A_PEER_MAX || claims.size >= KEYS_MAX) forgetSilent(now);
      const isFull = claims.size >= KEYS_MAX || claim.receivers.size >= RECEIVERS_A_KEY_MAX;
      if (isFull || keys.size >= KEYS_A_PEER_MAX) return undefined;
      receiver = {
        peerId,
        turn: claim.turns,
        offset: 0,
        heardAt: now,
        grewAt: now,
        grewTo: 0,
        parent: undefined,
        depth: 0,
      };
      claim.turns += 1;
      claim.receivers.set(peerId, receiver);
      claims.set(key, claim);
      byPeer.set(peerId, keys.add(key));
    }
    receiver.heardAt = now;
    return { claim, receiver };
  };

  /** Answers whether it got on. */
  const advance = (claim: Claim, receiver: Receiver, offset: number, now: number, isWhole = false): boolean => {
    receiver.offset = Math.max(receiver.offset, offset);
    const isFirst = receiver.grewTo === 0 && offset > 0;
    if (!isFirst && !isWhole && offset < receiver.grewTo + PROGRESS_BYTES_MIN) return false;
    receiver.grewTo = offset;
    receiver.grewAt = now;
    if (claim.leader === receiver.peerId) claim.ledAt = now;
    return true;
  };

  const follow = (claim: Claim, receiver: Receiver, now: number): readonly string[] => {
    const order = candidates(claim, receiver, now);
    const [parent] = order;
    receiver.parent = parent?.peerId;
    receiver.depth = parent === undefined ? 0 : parent.depth + 1;
    return order.slice(0, RECEIVERS_NAMED_MAX).map(({ peerId }) => peerId);
  };

  return {
    get size() {
      return claims.size;
    },
    claim: (key, peerId, { offset, patienceMs }, now) => {
      const entered = enter(key, peerId, now);
      if (entered === undefined) return { role: 'lead' };
      const { claim, receiver } = entered;
      advance(claim, receiver, offset, now);
      if (now - claim.ledAt > silenceMax(claim, patienceMs)) claim.leader = undefined;
      const isLeaderless = claim.leader === undefined && !isSomeoneAhead(claim, receiver, now);
      if (isLeaderless || claim.leader === peerId) {
        claim.leader = peerId;
        claim.ledAt = now;
        receiver.parent = undefined;
        receiver.depth = 0;
        return { role: 'lead' };
      }
      return { role: 'follow', receivers: follow(claim, receiver, now) };
    },
    receivers: (key, peerId, offset, now) => {
      const entered = enter(key, peerId, now);
      if (entered === undefined) return [];
      advance(entered.claim, entered.receiver, offset, now);
      return follow(entered.claim, entered.receiver, now);
    },
    progress: (key, peerId, offset, now, isWhole) => {
      if (offset === 0 && claims.get(key)?.receivers.has(peerId) !== true) return;
      const entered = enter(key, peerId, now);
      if (entered === undefined) return;
      const { claim, receiver } = entered;
      const gotOn = advance(claim, receiver, offset, now, isWhole);
      // Bytes that come while nobody leads come from the registry, or from one who has them all.
      if (gotOn && claim.leader === undefined) Object.assign(claim, { leader: peerId, ledAt: now });
    },
    release: (key, peerId) => {
      const claim = claims.get(key);
      if (claim !== undefined) forget(key, claim, peerId);
    },
    removePeer: (peerId) => {
      for (const key of byPeer.get(peerId) ?? []) {
        const claim = claims.get(key);
        if (claim !== undefined) forget(key, claim, peerId);
      }
    },
  };
}

function silenceMax({ receivers, leader }: Claim, patienceMs: number): number {
  const hasBytes = leader !== undefined && (receivers.get(leader)?.offset ?? 0) > 0;
  return hasBytes ? LEAD_SILENT_MS_MAX : Math.min(Math.max(patienceMs, PATIENCE_MS_MIN), PATIENCE_MS_MAX);
}

/** Whoever has more and is getting on asks, and leads, when it gets no more: until then a second copy is not worth it. */
function isSomeoneAhead(claim: Claim, { offset }: Receiver, now: number): boolean {
  return claim.receivers.values().some((other) => other.offset > offset && now - other.grewAt <= LEAD_SILENT_MS_MAX);
}

/**
 * Whom a receiver may follow, best first. The leader follows nobody. Who has more bytes than the receiver cannot have got them from
 * it. Before there are bytes, those who came earlier: so nobody waits for one who waits for it.
 */
function candidates(claim: Claim, receiver: Receiver, now: number): Receiver[] {
  const all = [...claim.receivers.values()];
  const children = new Map<string, number>();
  for (const { peerId, parent } of all) {
    if (parent !== undefined && peerId !== receiver.peerId) children.set(parent, (children.get(parent) ?? 0) + 1);
  }
  const isAhead = (other: Receiver) =>
    other.peerId === claim.leader ||
    other.offset > receiver.offset ||
    (other.offset === 0 && receiver.offset === 0 && other.turn < receiver.turn);
  const isStalled = (other: Receiver) => (other.peerId !== claim.leader && now - other.grewAt > STALLED_MS ? 1 : 0);
  const isCrowded = ({ peerId }: Receiver) => ((children.get(peerId) ?? 0) < CHILDREN_FIRST ? 0 : 1);
  return all
    .filter((other) => other !== receiver && isAhead(other))
    .sort(
      (a, b) =>
        isStalled(a) - isStalled(b) ||
        isCrowded(a) - isCrowded(b) ||
        a.depth - b.depth ||
        (children.get(a.peerId) ?? 0) - (children.get(b.peerId) ?? 0) ||
        b.offset - a.offset ||
        a.turn - b.turn,
    );
}
