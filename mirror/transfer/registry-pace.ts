import type { Digest } from '../../common/oci/digest.ts';
import type { Registry } from '../../common/oci/reference.ts';
import { FASTER_FACTOR } from './pick-peer.ts';

export interface RegistryPaceDeps {
  /** Milliseconds. */
  readonly now: () => number;
}

/** How fast registries lately sent what this node fetched from them, so that no peer makes a pull much slower than without a mirror. */
export interface RegistryPace {
  /** This node was sent to the registry for all of it. */
  led(digest: Digest, sizeBytes: number, registry: Registry | undefined): void;
  /** The first bytes of it are here. */
  begun(digest: Digest): void;
  /** All of it is here. */
  arrived(digest: Digest): void;
  /** Whether the registry is known to send several times as fast, nobody would call this fast, and it was not left there already. */
  isFaster(digest: Digest, registry: Registry | undefined, bytesPerSecond: number): boolean;
  /** The rest of it is left to the registry, when it is asked for next. */
  leave(digest: Digest): void;
  /** Whether it was; once, as whoever asks again could not get it there. */
  takeLeft(digest: Digest): boolean;
}

/** What is smaller is over before a connection is at its speed. */
const MEASURED_BYTES_MIN = 2_000_000;
/** Peers that are faster than this are good enough: what they spare the registry is worth more. */
const SLOW_BYTES_PER_SECOND = 5_000_000;
/** A registry's network is not what it was an hour ago. */
const RATE_FRESH_MS = 3_600_000;
/** A client that was ended comes back at once. */
const LEFT_MS = 5_000;
/** Who comes back for more after that has not got it there. */
const LEFT_AGAIN_MS = 60_000;
/** Names come from whoever pulls; a node uses a few registries, and a pull a few layers at a time. */
const ENTRIES_MAX = 256;

export function createRegistryPace({ now }: RegistryPaceDeps): RegistryPace {
  const fetched = new Map<Digest, { readonly registry: Registry; readonly sizeBytes: number; begunAtMs?: number }>();
  const rates = new Map<Registry, { readonly bytesPerSecond: number; readonly atMs: number }>();
  const left = new Map<Digest, { readonly atMs: number; isTaken: boolean }>();

  return {
    led: (digest, sizeBytes, registry) => {
      if (registry !== undefined && sizeBytes >= MEASURED_BYTES_MIN) keep(fetched, digest, { registry, sizeBytes });
    },
    begun: (digest) => {
      const fetch = fetched.get(digest);
      if (fetch !== undefined) fetch.begunAtMs ??= now();
    },
    arrived: (digest) => {
      const fetch = fetched.get(digest);
      fetched.delete(digest);
      if (fetch?.begunAtMs === undefined) return;
      const ms = Math.max(1, now() - fetch.begunAtMs);
      keep(rates, fetch.registry, { bytesPerSecond: (fetch.sizeBytes / ms) * 1000, atMs: now() });
    },
    isFaster: (digest, registry, bytesPerSecond) => {
      const rate = registry === undefined ? undefined : rates.get(registry);
      if (rate === undefined || now() - rate.atMs > RATE_FRESH_MS) return false;
      if (now() - (left.get(digest)?.atMs ?? Number.NEGATIVE_INFINITY) <= LEFT_AGAIN_MS) return false;
      return bytesPerSecond < SLOW_BYTES_PER_SECOND && bytesPerSecond * FASTER_FACTOR < rate.bytesPerSecond;
    },
    leave: (digest) => keep(left, digest, { atMs: now(), isTaken: false }),
    takeLeft: (digest) => {
      const entry = left.get(digest);
      if (entry === undefined || entry.isTaken || now() - entry.atMs > LEFT_MS) return false;
      entry.isTaken = true;
      return true;
    },
  };
}

/** The longest untouched is forgotten first. */
function keep<K, V>(map: Map<K, V>, key: K, value: V): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > ENTRIES_MAX && oldest !== undefined) map.delete(oldest);
}
