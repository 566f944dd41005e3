import { type Digest, parseDigest } from '../../common/oci/digest.ts';

/** Images have at most 127 layers, indexes a few dozen platforms. */
const CHILDREN_MAX = 1024;

/**
 * What a registry holds because it holds this manifest: it refuses a manifest whose parts are missing. Layers that it takes
 * without having them, because they come from elsewhere, are left out: naming one proves nothing.
 */
export function manifestChildren(bytes: Uint8Array): readonly Digest[] {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
  } catch {
    return [];
  }
  const { config, layers, manifests } = (parsed ?? {}) as Readonly<Record<string, unknown>>;
  const listed = [config, ...listOf(layers), ...listOf(manifests)].slice(0, CHILDREN_MAX);
  return listed.flatMap((descriptor) => {
    const { digest, urls, mediaType } = (descriptor ?? {}) as Readonly<Record<string, unknown>>;
    const isElsewhere = urls !== undefined || /foreign|nondistributable/.test(String(mediaType));
    const own = typeof digest === 'string' && !isElsewhere ? parseDigest(digest) : undefined;
    return own === undefined ? [] : [own];
  });
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
