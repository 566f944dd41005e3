import type { Digest } from '../../common/oci/digest.ts';
import { manifestChildren } from '../access/manifest-children.ts';

/** What the manifests that were given to the pod name. */
export interface BegunImages {
  begin(manifest: Uint8Array): void;
  /** Whether it is of an image whose beginning came from here. */
  has(digest: Digest): boolean;
}

/** A builder has a few dozen images of some dozen layers each; beyond that the oldest are forgotten. */
const DIGESTS_MAX = 8192;

export function createBegunImages(): BegunImages {
  const digests = new Set<Digest>();
  return {
    begin: (manifest) => {
      for (const digest of manifestChildren(manifest)) {
        digests.delete(digest);
        digests.add(digest);
      }
      for (const oldest of digests) {
        if (digests.size <= DIGESTS_MAX) break;
        digests.delete(oldest);
      }
    },
    has: (digest) => digests.has(digest),
  };
}
