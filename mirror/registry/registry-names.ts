import type { Registry } from '../../common/oci/reference.ts';

/** Whoever runs a pod chooses names: those that metrics know apart are limited, and a cluster uses a handful. */
const NAMED_MAX = 32;
/** What the others are called; no registry has a name without a dot, a colon or `localhost`. */
export const OTHER = 'other';

/** Names registries in metrics: those that are listed, and the first ones besides of which something was served. */
export function createRegistryNames(
  listed: readonly Registry[],
): (registry: Registry | undefined, isServed: boolean) => string {
  const named = new Set<string>(listed);
  return (registry, isServed) => {
    if (registry === undefined) return OTHER;
    if (isServed && named.size < Math.max(NAMED_MAX, listed.length)) named.add(registry);
    return named.has(registry) ? registry : OTHER;
  };
}
