import { createHash } from 'node:crypto';
import { MiroirError } from '../../common/errors.ts';
import type { Digest } from '../../common/oci/digest.ts';
import { MANIFEST_BYTES_MAX, manifestMediaType } from '../../common/oci/media-types.ts';
import type { OpenContent, Store } from '../store/store.ts';
import { createManifestCache } from './manifest-cache.ts';

/** A manifest whose bytes are what its digest says. */
export interface Manifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** Manifests are a few KiB: this is hundreds of images, and a small part of what the mirror may use. */
const CACHE_BYTES_MAX = 4 * 1024 * 1024;

/** How long a manifest is served without asking the store again. So a deletion shows within a second, and a busy one is read once a second. */
const FRESH_MS = 1000;

export interface LocalContentDeps {
  readonly store: Store;
  readonly now: () => number;
}

/** This node's own content, with manifests kept in memory while they are asked for often. */
export interface LocalContent {
  /** What was served within the last second. At once, so that a hot manifest costs no promise. */
  recentManifest(digest: Digest): Manifest | undefined;
  /** Throws ERR_CONTENT_NOT_FOUND, also when the content is no manifest, and ERR_CONTENT_CORRUPT. */
  manifest(digest: Digest, signal: AbortSignal): Promise<Manifest>;
  /** As the store's: the caller closes the file. */
  open(digest: Digest, signal: AbortSignal): Promise<OpenContent>;
}

export function createLocalContent({ store, now }: LocalContentDeps): LocalContent {
  const cache = createManifestCache({ now }, { bytesMax: CACHE_BYTES_MAX, freshMs: FRESH_MS });

  const manifest = async (digest: Digest, signal: AbortSignal) => {
    const recent = cache.get(digest);
    if (recent !== undefined) return recent;
    const content = await store.open(digest, signal);
    try {
      const read = await readManifest(content);
      cache.put(read);
      return read;
    } finally {
      await content.file.close();
    }
  };

  return {
    recentManifest: (digest) => cache.get(digest),
    manifest,
    open: (digest, signal) => store.open(digest, signal),
  };
}

/** Throws as verifyManifest. The caller closes the file. */
export async function readManifest({ digest, sizeBytes, file }: OpenContent): Promise<Manifest> {
  if (sizeBytes > MANIFEST_BYTES_MAX) throw new MiroirError('ERR_CONTENT_NOT_FOUND', 'too large for a manifest');
  const bytes = Buffer.allocUnsafeSlow(sizeBytes);
  let offset = 0;
  while (offset < sizeBytes) {
    const { bytesRead } = await file.read(bytes, offset, sizeBytes - offset, offset);
    if (bytesRead === 0) throw new MiroirError('ERR_CONTENT_CORRUPT', 'the file ended early');
    offset += bytesRead;
  }
  return verifyManifest(digest, bytes);
}

/** Throws ERR_CONTENT_CORRUPT when the bytes are not the digest's, ERR_CONTENT_NOT_FOUND when they are no manifest. */
export function verifyManifest(digest: Digest, bytes: Uint8Array): Manifest {
  if (sha256(bytes) !== digest) throw new MiroirError('ERR_CONTENT_CORRUPT', 'the bytes are not what the digest says');
  const mediaType = manifestMediaType(bytes);
  if (mediaType === undefined) throw new MiroirError('ERR_CONTENT_NOT_FOUND', 'the content is no manifest');
  return { digest, mediaType, bytes };
}

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}
