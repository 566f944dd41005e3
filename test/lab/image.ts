import { createCipheriv, createHash } from 'node:crypto';
import fs from 'node:fs';
import type { Readable } from 'node:stream';
import { Readable as ReadableStream } from 'node:stream';
import { createGzip } from 'node:zlib';

export interface LayerSpec {
  /** Of the uncompressed layer, a tar archive; rounded up to what a tar archive can be (512 bytes, 2048 at least). */
  readonly bytes: number;
  /** Its content does not get smaller by it. */
  readonly gzip?: boolean;
  /** Layers of the same size and seed are the same blob; without one the seed is the image's, platform's and position's. */
  readonly seed?: string;
}

export interface ImageSpec {
  readonly layers: readonly LayerSpec[];
  readonly seed: string;
  /** More than one makes an index. The machine's own only, unless told: `linux/amd64`. */
  readonly platforms?: readonly string[];
  /** What its containers run: arguments of busybox, which becomes its last layer. Otherwise it is for pulling alone. */
  readonly runs?: readonly string[];
}

/** Static, so that nothing else need be in the image. */
const BUSYBOX = '/bin/busybox';

const TAR_BLOCK = 512;
/** A header before the one file of the archive, and two empty blocks after it. */
const TAR_OVERHEAD = 3 * TAR_BLOCK;
const CHUNK_BYTES = 1024 * 1024;

export function hostPlatform(): string {
  return `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`;
}

/** A tar archive with one file of random bytes, the same for the same seed and size. */
export function openLayer(seed: string, bytes: number): Readable {
  const fileBytes = Math.max(TAR_BLOCK, Math.ceil(bytes / TAR_BLOCK) * TAR_BLOCK - TAR_OVERHEAD);
  return ReadableStream.from(layerChunks(seed, fileBytes), { objectMode: false });
}

/** A tar archive with busybox. */
export function openBusybox(): Readable {
  const program = fs.readFileSync(BUSYBOX);
  const padding = Buffer.alloc((TAR_BLOCK - (program.length % TAR_BLOCK)) % TAR_BLOCK);
  return ReadableStream.from([
    Buffer.concat([tarHeader('busybox', program.length, 0o755), program, padding, Buffer.alloc(2 * TAR_BLOCK)]),
  ]);
}

export function compress(layer: Readable): Readable {
  return layer.pipe(createGzip({ level: 1 })); // Random bytes compress at no level; this one is the fastest.
}

function* layerChunks(seed: string, fileBytes: number): Generator<Buffer> {
  const hash = createHash('sha256').update(seed).digest();
  yield tarHeader(`lab/${hash.toString('hex', 0, 8)}`, fileBytes);
  // A cipher's key stream is incompressible, repeatable, and made at a gigabyte a second.
  const stream = createCipheriv('aes-128-ctr', hash.subarray(0, 16), hash.subarray(16));
  const zeros = Buffer.alloc(CHUNK_BYTES);
  for (let left = fileBytes; left > 0; left -= CHUNK_BYTES) {
    yield stream.update(left < CHUNK_BYTES ? zeros.subarray(0, left) : zeros);
  }
  yield Buffer.alloc(2 * TAR_BLOCK);
}

/** One entry of the ustar format, POSIX.1-1988: a regular file of root, from 1970. */
function tarHeader(name: string, bytes: number, mode = 0o644): Buffer {
  const header = Buffer.alloc(TAR_BLOCK);
  const octal = (value: number, digits: number) => `${value.toString(8).padStart(digits, '0')}\0`;
  header.write(name, 0);
  header.write(octal(mode, 7), 100);
  header.write(octal(0, 7), 108);
  header.write(octal(0, 7), 116);
  header.write(octal(bytes, 11), 124);
  header.write(octal(0, 11), 136);
  header.write(' '.repeat(8), 148); // The checksum counts its own field as spaces.
  header.write('0', 156);
  header.write('ustar\x0000', 257);
  const checksum = header.reduce((sum, byte) => sum + byte, 0);
  header.write(`${checksum.toString(8).padStart(6, '0')}\0 `, 148);
  return header;
}
