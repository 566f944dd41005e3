import type { Digest } from '../../common/oci/digest.ts';
import { inOwnMemory } from '../../common/own-memory.ts';
import type { Manifest } from './local-content.ts';

export interface ManifestCacheDeps {
  readonly now: () => number;
}

export interface ManifestCacheOptions {
  readonly bytesMax: number;
  /** How long an entry is used. */
  readonly freshMs: number;
}

/** Manifests that were just used. They cannot be wrong, as their digest was checked; they can be gone where they came from. */
export interface ManifestCache {
  get(digest: Digest): Manifest | undefined;
  put(manifest: Manifest): void;
}

export function createManifestCache({ now }: ManifestCacheDeps, options: ManifestCacheOptions): ManifestCache {
  /** In order of arrival, the oldest first. */
  const entries = new Map<Digest, { readonly manifest: Manifest; readonly putAtMs: number }>();
  let heldBytes = 0;

  const drop = (digest: Digest) => {
    heldBytes -= entries.get(digest)?.manifest.bytes.length ?? 0;
    entries.delete(digest);
  };

  return {
    get: (digest) => {
      const entry = entries.get(digest);
      if (entry === undefined) return undefined;
      if (now() - entry.putAtMs < options.freshMs) return entry.manifest;
      drop(digest);
      return undefined;
    },
    put: (given) => {
      const manifest = { ...given, bytes: inOwnMemory(given.bytes) };
      drop(manifest.digest);
      entries.set(manifest.digest, { manifest, putAtMs: now() });
      heldBytes += manifest.bytes.length;
      for (const oldest of entries.keys()) {
        if (heldBytes <= options.bytesMax) break;
        drop(oldest);
      }
    },
  };
}
