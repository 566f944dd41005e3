import { openNative } from './native.ts';

/**
 * Has the system take back memory that is not needed for now, and answers how many bytes it took: whole pages. When they are touched again,
 * what is of a file comes from there, and what is not is zero.
 */
export interface LetGo {
  range(start: bigint, end: bigint): number;
  buffer(bytes: Uint8Array): number;
}

/** asm-generic/mman-common.h */
const MADV_DONTNEED = 4;

/** Undefined where the C library's functions cannot be called. */
export function createLetGo(): LetGo | undefined {
  const libc = openNative({
    getpagesize: { arguments: [], return: 'i32' },
    madvise: { arguments: ['pointer', 'u64', 'i32'], return: 'i32' },
  });
  if (libc === undefined) return undefined;
  const { getpagesize, madvise } = libc.functions;
  const pageBytes = BigInt(getpagesize());

  const range = (start: bigint, end: bigint): number => {
    const first = ((start + pageBytes - 1n) / pageBytes) * pageBytes;
    const byteCount = (end / pageBytes) * pageBytes - first;
    return byteCount > 0n && madvise(first, byteCount, MADV_DONTNEED) === 0 ? Number(byteCount) : 0;
  };

  return {
    range,
    buffer: ({ buffer, byteOffset, length }) => {
      if (!(buffer instanceof ArrayBuffer)) return 0;
      const start = libc.addressOf(buffer) + BigInt(byteOffset);
      return range(start, start + BigInt(length));
    },
  };
}
