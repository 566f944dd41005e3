import type { Digest } from '../../common/oci/digest.ts';
import type { KeyHash, WireEntry } from './wire.ts';

/** A tag as a provider knows it, with the time it was resolved on this process's monotonic clock. */
interface KeptTag {
  readonly digest: Digest;
  readonly resolvedAt: number;
}

interface Kept {
  readonly peerId: string;
  readonly tag?: KeptTag;
}

/** A node holds some thousands of digests; one that claims more than this is broken, or wants our memory. */
const RECORDS_A_PEER_MAX = 50_000;
/** About 40 MB. Of 1,000 nodes with 5,000 digests each, one of 128 keepers gets 120,000. */
const RECORDS_MAX = 250_000;
/** Nobody needs that many sources for one key, and a base image is on every node. */
const RECORDS_A_KEY_MAX = 256;

/** The part of the swarm's index that this node keeps: who said it has what. */
interface RecordIndex {
  readonly size: number;
  /** Takes what the peer has, again or anew. Returns how many records there was no room for. */
  add(peerId: string, entries: readonly WireEntry[], now: number): number;
  remove(peerId: string, keys: readonly KeyHash[]): void;
  /** Forgets all that came from the peer. */
  removePeer(peerId: string): void;
  /**
   * Up to `limit` providers other than `except`: of a tag the newest resolved first; of a digest any of them, from
   * `random` on (0 to 1), so that all are asked in turn.
   */
  find(key: KeyHash, options: { readonly limit: number; readonly except: string; readonly random: number }): Kept[];
}

export function createRecordIndex(): RecordIndex {
  const byKey = new Map<KeyHash, Map<string, Kept>>();
  const byPeer = new Map<string, Set<KeyHash>>();
  let size = 0;

  const keep = (key: KeyHash, kept: Kept): boolean => {
    const providers = byKey.get(key) ?? new Map<string, Kept>();
    const keys = byPeer.get(kept.peerId) ?? new Set<KeyHash>();
    if (!providers.has(kept.peerId)) {
      if (size >= RECORDS_MAX || keys.size >= RECORDS_A_PEER_MAX) return false;
      if (providers.size >= RECORDS_A_KEY_MAX && !makeRoom(key, kept)) return false;
      size += 1;
    }
    providers.set(kept.peerId, kept);
    keys.add(key);
    byKey.set(key, providers);
    byPeer.set(kept.peerId, keys);
    return true;
  };

  /** Gives up the record of a tag that was resolved longest ago, if that is older than the new one. */
  const makeRoom = (key: KeyHash, kept: Kept): boolean => {
    const oldest = newestFirst([...(byKey.get(key)?.values() ?? [])]).at(-1);
    if (kept.tag === undefined || oldest === undefined) return false;
    if ((oldest.tag?.resolvedAt ?? -Infinity) >= kept.tag.resolvedAt) return false;
    removeOne(oldest.peerId, key);
    return true;
  };

  const removeOne = (peerId: string, key: KeyHash): void => {
    const providers = byKey.get(key);
    if (providers?.delete(peerId) !== true) return;
    size -= 1;
    if (providers.size === 0) byKey.delete(key);
    const keys = byPeer.get(peerId);
    keys?.delete(key);
    if (keys?.size === 0) byPeer.delete(peerId);
  };

  return {
    get size() {
      return size;
    },
    add: (peerId, entries, now) => {
      let refused = 0;
      for (const { key, tag } of entries) {
        const kept =
          tag === undefined ? { peerId } : { peerId, tag: { digest: tag.digest, resolvedAt: now - tag.ageMs } };
        if (!keep(key, kept)) refused += 1;
      }
      return refused;
    },
    remove: (peerId, keys) => {
      for (const key of keys) removeOne(peerId, key);
    },
    removePeer: (peerId) => {
      for (const key of byPeer.get(peerId) ?? []) removeOne(peerId, key);
    },
    find: (key, { limit, except, random }) => {
      const kept = [...(byKey.get(key)?.values() ?? [])].filter(({ peerId }) => peerId !== except);
      if (kept.some(({ tag }) => tag !== undefined)) return newestFirst(kept).slice(0, limit);
      const start = Math.floor(random * kept.length);
      return [...kept.slice(start), ...kept.slice(0, start)].slice(0, limit);
    },
  };
}

function newestFirst(kept: Kept[]): Kept[] {
  return kept.sort((a, b) => (b.tag?.resolvedAt ?? -Infinity) - (a.tag?.resolvedAt ?? -Infinity));
}
