import { openNative } from '../../common/native.ts';
import type { ReadNow } from './read-now.ts';

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

/** Undefined where the C library's functions cannot be called. */
export function createKernelCopy(readNow: ReadNow | undefined): KernelCopy | undefined {
  const libc = openNative({
    sendfile: { arguments: ['i32', 'i32', 'pointer', 'u64'], return: 'i64' },
  });
  if (libc === undefined || readNow === undefined) return undefined;
  const { sendfile } = libc.functions;
  const from = new BigInt64Array(1);
  const lastByte = Buffer.allocUnsafeSlow(1);

  return (socketFd, fileFd, { offset, byteCount }) => {
    // The last byte tells of those before it: the kernel reads in order, and forgets what is oldest.
    if (!readNow(fileFd, lastByte, offset + byteCount - 1)) return undefined;
    from[0] = BigInt(offset);
    return Math.max(0, Number(sendfile(socketFd, fileFd, from, BigInt(byteCount))));
  };
}
