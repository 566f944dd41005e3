import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';

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
  /** This node was. */
  led(origin: Origin): void;
  /**
   * How long this node leaves the lead to others: there is a token to be had first, as the registry's answers take long, and whoever has
   * fetched from there a moment ago has it.
   */
  deferenceMs(origin: Origin): number;
  /** How long to wait for whoever has shown no byte. */
  patienceMs(registry: Registry | undefined): number;
}

export interface Origin {
  readonly registry?: Registry;
  readonly repository: Repository;
}

/** A first byte that takes so long is worth a moment's thought about who is to ask for it. */
const SLOW_MS = 500;
/** What nobody has must not take a node 30 ms longer than without a mirror. */
const DEFERENCE_MS = 25;
/** A pull asks for its parts within seconds, and containerd keeps a token for as long as the pull. */
const LED_MS = 30_000;

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
  const ledAt = new Map<string, number>();

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
    led: (origin) => keep(ledAt, nameOf(origin), now(), REGISTRIES_MAX),
    deferenceMs: (origin) => {
      const slowest = (origin.registry && slowestMs.get(origin.registry)) ?? 0;
      const hasLed = now() - (ledAt.get(nameOf(origin)) ?? Number.NEGATIVE_INFINITY) <= LED_MS;
      return slowest < SLOW_MS || hasLed ? 0 : DEFERENCE_MS;
    },
    patienceMs: (registry) => {
      const slowest = registry === undefined ? undefined : slowestMs.get(registry);
      if (slowest === undefined) return PATIENCE_UNKNOWN_MS;
      return Math.round(Math.min(Math.max(slowest * PATIENCE_FACTOR, PATIENCE_MS_MIN), PATIENCE_MS_MAX));
    },
  };
}

function nameOf({ registry, repository }: Origin): string {
  return `${registry ?? ''}/${repository}`;
}

/** The longest untouched is forgotten first. */
function keep<K, V>(map: Map<K, V>, key: K, value: V, countMax: number): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > countMax && oldest !== undefined) map.delete(oldest);
}
