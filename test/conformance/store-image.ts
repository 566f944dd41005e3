import { createCipheriv, createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import { OCI_MANIFEST } from '../../common/oci/media-types.ts';

/** A small image that containerd can pull and unpack. */
export interface SmallImage {
  /** The manifest's digest. */
  readonly digest: Digest;
  readonly layer: Digest;
  /** Manifest, config and layer. */
  readonly blobs: ReadonlyMap<Digest, Buffer>;
}

/** Two images of one seed are the same, of two seeds share nothing. The layer has no fewer bytes than asked for. */
export function makeImage(seed: string, layerBytesMin = 0): SmallImage {
  const blobs = new Map<Digest, Buffer>();
  const put = (bytes: Buffer, mediaType: string) => {
    const digest = sha256(bytes);
    blobs.set(digest, bytes);
    return { mediaType, digest, size: bytes.length };
  };
  const tar = makeTar([
    { name: `${seed}.txt`, bytes: Buffer.concat([Buffer.from(seed.repeat(1000)), makeNoise(seed, layerBytesMin)]) },
  ]);
  const layer = put(gzipSync(tar), 'application/vnd.oci.image.layer.v1.tar+gzip');
  const config = put(
    toJson({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: {},
      rootfs: { type: 'layers', diff_ids: [sha256(tar)] },
    }),
    'application/vnd.oci.image.config.v1+json',
  );
  const manifest = put(toJson({ schemaVersion: 2, mediaType: OCI_MANIFEST, config, layers: [layer] }), OCI_MANIFEST);
  return { digest: manifest.digest, layer: layer.digest, blobs };
}

export function sha256(bytes: Buffer): Digest {
  return parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`) as Digest;
}

/** Bytes that do not compress, and no two pages of them the same. */
function makeNoise(seed: string, bytes: number): Buffer {
  const key = createHash('sha256').update(seed).digest();
  return createCipheriv('aes-128-ctr', key.subarray(0, 16), key.subarray(16)).update(Buffer.alloc(bytes));
}

function toJson(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function makeTar(files: ReadonlyArray<{ readonly name: string; readonly bytes: Buffer }>): Buffer {
  const parts = files.flatMap(({ name, bytes }) => {
    const header = Buffer.alloc(512);
    header.write(name, 0);
    header.write('0000644\0', 100);
    header.write('0000000\0', 108);
    header.write('0000000\0', 116);
    header.write(`${bytes.length.toString(8).padStart(11, '0')}\0`, 124);
    header.write('00000000000\0', 136);
    header.write('        ', 148); // The checksum counts itself as spaces.
    header.write('0', 156);
    header.write('ustar\x0000', 257);
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
    return [header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)];
  });
  return Buffer.concat([...parts, Buffer.alloc(1024)]);
}
