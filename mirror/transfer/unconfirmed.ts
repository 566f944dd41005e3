import type { Digest } from '../../common/oci/digest.ts';
import type { Provider } from '../swarm/router.ts';

export interface UnconfirmedDeps {
  /** Milliseconds. */
  readonly now: () => number;
}

/**
 * What peers sent through this mirror to containerd, until containerd has taken it in. It compares all that it takes in with
 * the digest, so what arrives in its store was right; when it asks for the same again instead, the bytes were likely wrong.
 */
export interface Unconfirmed {
  /** The last byte of the content went to containerd; these peers sent it. */
  sent(digest: Digest, sources: readonly Provider[]): void;
  /** This node's store has the content. */
  arrived(digest: Digest): void;
  /** Who sent what never arrived, to be asked when it is wanted again: empty for nearly all content. */
  suspects(digest: Digest): readonly Provider[];
  /** What these peers have of it was compared with the digest, and is right. */
  cleared(digest: Digest): void;
}

/** kubelet asks again within five minutes, however often it failed before. */
const REMEMBERED_MS = 10 * 60_000;

/** A node takes in a few layers at a time, and forgets each within a second of its end; this is for those that fail. */
const DIGESTS_MAX = 256;

interface Entry {
  readonly sources: readonly Provider[];
  readonly atMs: number;
}

export function createUnconfirmed({ now }: UnconfirmedDeps): Unconfirmed {
  /** In the order in which they were put, the oldest first; no sources: they were cleared. */
  const entries = new Map<Digest, Entry>();

  const recent = (digest: Digest): Entry | undefined => {
    const entry = entries.get(digest);
    if (entry !== undefined && now() - entry.atMs <= REMEMBERED_MS) return entry;
    entries.delete(digest);
    return undefined;
  };

  const put = (digest: Digest, sources: readonly Provider[]) => {
    entries.delete(digest);
    entries.set(digest, { sources, atMs: now() });
    const [oldest] = entries.keys();
    if (entries.size > DIGESTS_MAX && oldest !== undefined) entries.delete(oldest);
  };

  return {
    sent: (digest, sources) => {
      // Who asks twice for what was right, because it keeps nothing, is not to make this mirror compare it each time.
      if (recent(digest)?.sources.length !== 0) put(digest, sources);
    },
    arrived: (digest) => {
      entries.delete(digest);
    },
    suspects: (digest) => recent(digest)?.sources ?? [],
    cleared: (digest) => put(digest, []),
  };
}
