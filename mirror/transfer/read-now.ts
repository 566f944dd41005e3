import { openNative } from '../../common/native.ts';

/**
 * Fills a buffer with the bytes of a file from an offset on if the kernel has them all in memory: false when it has not, or when the
 * file ends before that, and then what is in the buffer means nothing. It waits for nothing.
 */
export type ReadNow = (fileFd: number, buffer: Uint8Array, offset: number) => boolean;

/** Linux, include/uapi/linux/fs.h: answer only with what needs no waiting. */
const RWF_NOWAIT = 8;

/** Undefined where the C library's functions cannot be called. */
export function createReadNow(): ReadNow | undefined {
  const libc = openNative({
    preadv2: { arguments: ['i32', 'pointer', 'i32', 'i64', 'i32'], return: 'i64' },
  });
  if (libc === undefined) return undefined;
  const { preadv2 } = libc.functions;
  /** struct iovec: where to read to, and how much. */
  const vector = new BigUint64Array(2);

  return (fileFd, buffer, offset) => {
    if (!(buffer.buffer instanceof ArrayBuffer)) return false;
    vector[0] = libc.addressOf(buffer.buffer) + BigInt(buffer.byteOffset);
    vector[1] = BigInt(buffer.length);
    return preadv2(fileFd, vector, 1, BigInt(offset), RWF_NOWAIT) === BigInt(buffer.length);
  };
}
