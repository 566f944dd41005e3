import { openNative } from '../../common/native.ts';

/**
 * Has the kernel send bytes of a file on a socket by itself, at most `byteCount`, and answers how many it took: 0 when the socket is
 * full or broken; undefined when it cannot, as the bytes are not in memory, or not there, or the file system does not allow it.
 * It waits for nothing. What it does not send is to be sent in the usual way, which waits, or says what is wrong.
 */
export type KernelCopy = (
  socketFd: number,
  fileFd: number,
  range: { readonly offset: number; readonly byteCount: number },
) => number | undefined;

/** Linux, include/uapi/linux/fs.h: answer only with what needs no waiting. */
const RWF_NOWAIT = 8;

/** Undefined where the C library's functions cannot be called. */
export function createKernelCopy(): KernelCopy | undefined {
  const libc = openNative({
    sendfile: { arguments: ['i32', 'i32', 'pointer', 'u64'], return: 'i64' },
    preadv2: { arguments: ['i32', 'pointer', 'i32', 'i64', 'i32'], return: 'i64' },
  });
  if (libc === undefined) return undefined;
  const { sendfile, preadv2 } = libc.functions;
  /** One piece of memory, so that what a structure points to lives as long as the structure. */
  const memory = new ArrayBuffer(32);
  /** struct iovec: where to read to, here the last eight bytes, and how much. */
  const vector = new BigUint64Array(memory, 0, 2);
  vector.set([libc.addressOf(memory) + 24n, 1n]);
  const from = new BigInt64Array(memory, 16, 1);

  return (socketFd, fileFd, { offset, byteCount }) => {
    // The last byte tells of those before it: the kernel reads in order, and forgets what is oldest.
    const last = BigInt(offset + byteCount - 1);
    if (preadv2(fileFd, vector, 1, last, RWF_NOWAIT) !== 1n) return undefined;
    from[0] = BigInt(offset);
    return Math.max(0, Number(sendfile(socketFd, fileFd, from, BigInt(byteCount))));
  };
}
