import type { Logger } from '../common/log.ts';
import type { Registry } from '../common/oci/reference.ts';
import type { ConfiguredRegistry, ConfigureRegistryOptions } from '../containerd/configure.ts';
import type { Introductions } from './registry/server.ts';

/** Names come from whoever pulls; what is forgotten beyond this costs one look into certs.d. */
const REMEMBERED_MAX = 1024;

export interface IntroductionsDeps {
  /** Gives a registry a hosts.toml of its own; undefined when there was nothing to do. */
  readonly configureRegistry: (options: ConfigureRegistryOptions) => Promise<unknown>;
  readonly log: Logger;
}

export interface IntroductionsOptions {
  readonly certsDir: string;
  /** Those whose upstream is not what their name says. */
  readonly registries: readonly ConfiguredRegistry[];
}

/** Gives registries that nobody listed a file of their own when they are first seen, so that their tags stay fresh. */
export function createIntroductions(deps: IntroductionsDeps, options: IntroductionsOptions): Introductions {
  const { certsDir } = options;
  const upstreams = new Map(options.registries.map((registry) => [registry.name, registry]));
  const known = new Map<Registry, Promise<boolean>>();

  async function introduce(name: Registry): Promise<boolean> {
    try {
      const change = await deps.configureRegistry({ certsDir, registry: upstreams.get(name) ?? { name } });
      if (change !== undefined) deps.log.info('Configured containerd for a registry seen first', { registry: name });
      return change !== undefined;
    } catch (error) {
      // Its tags are answered all the same: without a file of its own, an old answer beats none in an outage.
      deps.log.warn('Cannot configure containerd for a registry seen first', { registry: name, certsDir, error });
      return false;
    }
  }

  return {
    isFirstSeen: async (registry) => {
      const before = known.get(registry);
      // Whoever asks while the file is being written has read certs.d before it, and must resolve upstream too.
      if (before !== undefined) return before;
      if (known.size >= REMEMBERED_MAX) known.clear();
      const introduced = introduce(registry);
      known.set(registry, introduced);
      const isNew = await introduced;
      known.set(registry, Promise.resolve(false));
      return isNew;
    },
  };
}
