import { MiroirError } from '../../common/errors.ts';
import type { Advertisement, Key, Member, Provider, Router } from './router.ts';

/** What the members of a swarm within one process share. */
export interface MemoryHub {
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
  return { members: new Map() };
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
    },
    advertise: async (added, signal) => {
      for (const entry of added) entries.set(entry.key, entry);
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
