import type { Registry } from '../../common/oci/reference.ts';

/** Which registries answer. */
export interface Standings {
  answered(registry: Registry): void;
  /** A question was not answered. True when that is news. */
  failed(registry: Registry): boolean;
  /** It does not answer at all. */
  wentAway(registry: Registry): void;
  /** It went away a moment ago: no use in asking. */
  isAway(registry: Registry): boolean;
  /** It has answered, or was named by a person. */
  isReal(registry: Registry): boolean;
}

/** For so long a registry that did not answer is not asked again. */
const AWAY_MS = 10_000;
/** Names come from whoever pulls; a cluster uses a handful. */
const REGISTRIES_MAX = 1024;

export function createStandings(now: () => number, listed: readonly Registry[]): Standings {
  const real = new Set<Registry>(listed);
  const failing = new Set<Registry>();
  const awayUntilMs = new Map<Registry, number>();
  return {
    answered: (registry) => {
      awayUntilMs.delete(registry);
      failing.delete(registry);
      if (real.size < listed.length + REGISTRIES_MAX) real.add(registry);
    },
    failed: (registry) => {
      if (failing.has(registry) || failing.size >= REGISTRIES_MAX) return false;
      failing.add(registry);
      return true;
    },
    wentAway: (registry) => {
      awayUntilMs.delete(registry);
      awayUntilMs.set(registry, now() + AWAY_MS);
      const [oldest] = awayUntilMs.keys();
      if (awayUntilMs.size > REGISTRIES_MAX && oldest !== undefined) awayUntilMs.delete(oldest);
    },
    isAway: (registry) => now() < (awayUntilMs.get(registry) ?? 0),
    isReal: (registry) => real.has(registry),
  };
}
