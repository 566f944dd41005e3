import type { Registry } from '../../common/oci/reference.ts';

/** Which registries answer. */
export interface Standings {
  answered(registry: Registry): void;
  /** A question was not answered. True when that is news. */
  failed(registry: Registry): boolean;
  /** It does not answer at all. */
  wentAway(registry: Registry): void;
  /** It did not answer a moment ago: no use in waiting for it. */
  isAway(registry: Registry): boolean;
  /** It is time to see whether it is back, though not to wait for that. */
  isDue(registry: Registry): boolean;
  /** It has answered, or was named by a person. */
  isReal(registry: Registry): boolean;
}

/** How often one that is away is looked at while somebody asks for something of it, and for how long that is believed. */
const LOOK_EVERY_MS = 10_000;
const AWAY_MS = 60_000;
/** Names come from whoever pulls; a cluster uses a handful. */
const REGISTRIES_MAX = 1024;

export function createStandings(now: () => number, listed: readonly Registry[]): Standings {
  const real = new Set<Registry>(listed);
  const failing = new Set<Registry>();
  /** By registry: when it was last seen to be away, the oldest first. */
  const away = new Map<Registry, number>();
  return {
    answered: (registry) => {
      away.delete(registry);
      failing.delete(registry);
      if (real.size < listed.length + REGISTRIES_MAX) real.add(registry);
    },
    failed: (registry) => {
      if (failing.has(registry) || failing.size >= REGISTRIES_MAX) return false;
      failing.add(registry);
      return true;
    },
    wentAway: (registry) => {
      away.delete(registry);
      away.set(registry, now());
      const [oldest] = away.keys();
      if (away.size > REGISTRIES_MAX && oldest !== undefined) away.delete(oldest);
    },
    isAway: (registry) => now() - (away.get(registry) ?? Number.NEGATIVE_INFINITY) < AWAY_MS,
    isDue: (registry) => now() - (away.get(registry) ?? Number.NEGATIVE_INFINITY) >= LOOK_EVERY_MS,
    isReal: (registry) => real.has(registry),
  };
}
