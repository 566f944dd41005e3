import type { Digest } from '../../common/oci/digest.ts';
import type { Registry } from '../../common/oci/reference.ts';

export interface FirstBytesDeps {
  /** Milliseconds. */
  readonly now: () => number;
}

/**
 * How long registries lately took to send the first byte of what this node, or one that it follows, was to fetch: so that a slow
 * registry is waited for, and a slow leader is not.
 */
export interface FirstBytes {
  /** Somebody was sent to the registry for it. */
  awaited(digest: Digest, registry: Registry | undefined): void;
  /** Bytes of it are in this node's store. */
  came(digest: Digest): void;
  /** How long to wait for whoever has shown no byte. */
  patienceMs(registry: Registry | undefined): number;
}

/** Nothing is known yet. A registry half a second away that sells a token first answers after 2.4 s. */
export const PATIENCE_UNKNOWN_MS = 3_000;
const PATIENCE_MS_MIN = 300;
/** What takes longer is not waited for: then a second copy is the smaller evil. */
const PATIENCE_MS_MAX = 5_000;

/** A registry may take this much longer than it lately did. */
const PATIENCE_FACTOR = 4;

/** Of the slowest answer so much is remembered with each faster one. */
const FADING = 0.95;

/** Names come from whoever pulls; a node uses a few. */
const REGISTRIES_MAX = 256;
const AWAITED_MAX = 1_024;

export function createFirstBytes({ now }: FirstBytesDeps): FirstBytes {
  const awaitedSince = new Map<Digest, { readonly registry: Registry; readonly atMs: number }>();
  const slowestMs = new Map<Registry, number>();

  return {
    awaited: (digest, registry) => {
      if (registry === undefined || awaitedSince.has(digest)) return;
      keep(awaitedSince, digest, { registry, atMs: now() }, AWAITED_MAX);
    },
    came: (digest) => {
      const since = awaitedSince.get(digest);
      awaitedSince.delete(digest);
      if (since === undefined) return;
      const tookMs = Math.min(now() - since.atMs, PATIENCE_MS_MAX);
      const faded = (slowestMs.get(since.registry) ?? 0) * FADING;
      keep(slowestMs, since.registry, Math.max(tookMs, faded), REGISTRIES_MAX);
    },
    patienceMs: (registry) => {
      const slowest = registry === undefined ? undefined : slowestMs.get(registry);
      if (slowest === undefined) return PATIENCE_UNKNOWN_MS;
      return Math.round(Math.min(Math.max(slowest * PATIENCE_FACTOR, PATIENCE_MS_MIN), PATIENCE_MS_MAX));
    },
  };
}

/** The longest untouched is forgotten first. */
function keep<K, V>(map: Map<K, V>, key: K, value: V, countMax: number): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > countMax && oldest !== undefined) map.delete(oldest);
}
