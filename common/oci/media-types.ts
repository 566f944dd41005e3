export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const OCI_INDEX = 'application/vnd.oci.image.index.v1+json';

/** What a blob is served as: the distribution spec gives blobs no type of their own. */
export const BLOB_MEDIA_TYPE = 'application/octet-stream';

/** The distribution spec lets a registry refuse manifests over 4 MiB, so no honest peer serves more. */
export const MANIFEST_BYTES_MAX = 4 * 1024 * 1024;

/**
 * The media type of a manifest's bytes, or undefined when they are no manifest. Content stores do not keep it, and a
 * wrong one fails a pull. OCI manifests may leave `mediaType` out (image-spec 1.0): then their fields tell.
 */
export function manifestMediaType(bytes: Uint8Array): string | undefined {
  const manifest = parseObject(bytes);
  if (manifest === undefined || manifest['schemaVersion'] !== 2) return undefined;
  const mediaType = manifest['mediaType'];
  if (typeof mediaType === 'string' && mediaType !== '') {
    return /^[\w.+-]+\/[\w.+-]+$/.test(mediaType) ? mediaType : undefined;
  }
  if (Array.isArray(manifest['manifests'])) return OCI_INDEX;
  if (Array.isArray(manifest['layers'])) return OCI_MANIFEST;
  return undefined;
}

function parseObject(bytes: Uint8Array): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8'));
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}
