import type { Lab } from '../lab/lab.ts';
import type { PushedImage } from '../lab/push.ts';
import type { PeerContent } from './faulty-peer.ts';

/** Larger than what mirrors verify before they pass it on. */
const LAYER_BYTES_MIN = 1024 * 1024;

/** All that is in an image of one platform, from the registry itself. */
export async function readImage({ upstream }: Lab, image: PushedImage, signal: AbortSignal): Promise<PeerContent[]> {
  const read = async (digest: string, kind: PeerContent['kind'], mediaType: string): Promise<PeerContent> => {
    const folder = kind === 'manifest' ? 'manifests' : 'blobs';
    const accept = kind === 'manifest' ? { accept: mediaType } : {};
    const url = `${upstream.pushUrl}/v2/${image.repository}/${folder}/${digest}`;
    const response = await fetch(url, { headers: accept, signal });
    if (!response.ok) throw new Error(`${url} answers ${response.status}`);
    return { kind, digest, mediaType, bytes: Buffer.from(await response.arrayBuffer()) };
  };
  const [manifest] = image.manifests;
  if (manifest === undefined) throw new Error('an image without a manifest');
  return Promise.all([
    read(manifest.digest, 'manifest', manifest.mediaType),
    read(manifest.config.digest, 'config', 'application/octet-stream'),
    ...manifest.layers.map(({ digest, size }) =>
      read(digest, size > LAYER_BYTES_MIN ? 'layer' : 'small layer', 'application/octet-stream'),
    ),
  ]);
}
