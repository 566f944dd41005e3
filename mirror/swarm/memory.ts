import { MiroirError } from '../../common/errors.ts';
import { type Claims, createClaims } from './claims.ts';
import type { Advertisement, Key, Member, Provider, Router } from './router.ts';
import { hashKey } from './wire.ts';

/** What the members of a swarm within one process share. */
export interface MemoryHub {
  readonly claims: Claims;
  readonly members: Map<string, MemoryMember>;
}

interface MemoryMember extends Member {
  readonly entries: ReadonlyMap<Key, Advertisement>;
}

interface MemoryRouterDeps {
  readonly hub: MemoryHub;
}

interface MemoryRouterOptions {
  readonly peerId: string;
  /** Where this node's peer server listens. */
  readonly address: string;
}

export function createMemoryHub(): MemoryHub {
  return { members: new Map(), claims: createClaims() };
}

/** A router for one process: for tests, and for a mirror that runs without a swarm (a hub with one member). */
export function createMemoryRouter({ hub }: MemoryRouterDeps, { peerId, address }: MemoryRouterOptions): Router {
  const entries = new Map<Key, Advertisement>();
  const self: MemoryMember = { peerId, address, entries };
  const isJoined = () => hub.members.get(peerId) === self;

  return {
    start: async () => {
      hub.members.set(peerId, self);
    },
    stop: async () => {
      if (isJoined()) hub.members.delete(peerId);
      hub.claims.removePeer(peerId);
    },
    advertise: async (added, signal) => {
      for (const entry of added) {
        entries.set(entry.key, entry);
        hub.claims.release(hashKey(entry.key), peerId);
      }
      throwIfAborted(signal);
    },
    withdraw: async (keys, signal) => {
      for (const key of keys) entries.delete(key);
      throwIfAborted(signal);
    },
    async *lookup(key, { limit }, signal) {
      for (const provider of providersOf(hub, key, peerId).slice(0, limit)) {
        if (signal.aborted || !isJoined()) return;
        yield provider;
      }
    },
    claim: async (key, want) => {
      const receiving = (ids: readonly string[]) =>
        othersOf(hub, peerId)
          .filter((member) => ids.includes(member.peerId))
          .sort((a, b) => ids.indexOf(a.peerId) - ids.indexOf(b.peerId))
          .map((member) => ({ ...pick(member), isReceiving: true }));
      const holders = providersOf(hub, key, peerId);
      const at = performance.now();
      if (holders.length > 0 && want.isFirst === true) return { role: 'held', providers: holders };
      if (holders.length > 0) {
        const receivers = receiving(hub.claims.receivers(hashKey(key), peerId, want.offset, at));
        return { role: 'held', providers: [...holders, ...receivers] };
      }
      const claim = hub.claims.claim(hashKey(key), peerId, want, at);
      return claim.role === 'lead' ? claim : { role: 'follow', providers: receiving(claim.receivers) };
    },
    mayClaimFirst: () => true,
    receiving: (receipts) => {
      for (const { key, offset, isWhole } of receipts)
        hub.claims.progress(hashKey(key), peerId, offset, performance.now(), isWhole);
    },
    gaveUp: (keys) => {
      for (const key of keys) hub.claims.release(hashKey(key), peerId);
    },
    members: () => (isJoined() ? othersOf(hub, peerId).map(pick) : []),
    isReady: isJoined,
  };
}

function providersOf(hub: MemoryHub, key: Key, self: string): Provider[] {
  const providers = othersOf(hub, self).flatMap((member) => {
    const entry = member.entries.get(key);
    if (entry === undefined) return [];
    return [{ ...pick(member), ...(entry.tag !== undefined && { tag: entry.tag }) }];
  });
  return providers.sort(byNewestTag);
}

/** Who resolved the tag last knows it best. */
function byNewestTag(a: Provider, b: Provider): number {
  return (b.tag?.resolvedAtMs ?? 0) - (a.tag?.resolvedAtMs ?? 0);
}

function othersOf(hub: MemoryHub, self: string): MemoryMember[] {
  return [...hub.members.values()].filter(({ peerId }) => peerId !== self);
}

function pick({ peerId, address }: Member): Member {
  return { peerId, address };
}

function throwIfAborted(signal: AbortSignal): void {
  if (signal.aborted) throw new MiroirError('ERR_ABORTED', 'aborted', { cause: signal.reason });
}
