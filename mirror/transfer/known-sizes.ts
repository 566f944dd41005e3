import { type Digest, parseDigest } from '../../common/oci/digest.ts';

/**
 * How large content is, by the manifests that were served: an image's manifest names the size of each of its parts, and is itself
 * verified. So a peer that has another size for one is known to be wrong before its first byte.
 */
export interface KnownSizes {
  learn(manifest: { readonly bytes: Uint8Array }): void;
  /** Undefined for what no manifest named, and for what two manifests disagree about: then one of them is wrong. */
  of(digest: Digest): number | undefined;
}

/** A pull asks for its parts within minutes of the manifest; these are the parts of a few hundred images. */
const DIGESTS_MAX = 4096;

/** No image has more parts than its 4 MiB of manifest have room for; who names so many gets the first of them. */
const PARTS_MAX = 1024;

export function createKnownSizes(): KnownSizes {
  /** In order of arrival, the oldest first. */
  const sizes = new Map<Digest, number | 'disputed'>();
  return {
    learn: ({ bytes }) => {
      for (const { digest, size } of partsOf(bytes)) {
        const known = sizes.get(digest);
        sizes.delete(digest);
        sizes.set(digest, known === undefined || known === size ? size : 'disputed');
      }
      for (const oldest of sizes.keys()) {
        if (sizes.size <= DIGESTS_MAX) break;
        sizes.delete(oldest);
      }
    },
    of: (digest) => {
      const size = sizes.get(digest);
      return size === 'disputed' ? undefined : size;
    },
  };
}

/** The descriptors of a manifest or an index. What is none is passed over: it is containerd that reads the manifest. */
function partsOf(bytes: Uint8Array): ReadonlyArray<{ digest: Digest; size: number }> {
  const { config, layers, manifests, blobs } = parseObject(Buffer.from(bytes).toString('utf8'));
  const lists = [layers, manifests, blobs].flatMap((list): unknown[] => (Array.isArray(list) ? list : []));
  return [config, ...lists].slice(0, PARTS_MAX).flatMap((part) => {
    const { digest: text, size } = isObject(part) ? part : {};
    const digest = typeof text === 'string' ? parseDigest(text) : undefined;
    return digest !== undefined && Number.isSafeInteger(size) ? [{ digest, size: size as number }] : [];
  });
}

function parseObject(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null;
}
