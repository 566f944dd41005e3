import { createSpareMemory } from '../../common/spare-memory.ts';

/** 1 MiB: twice the throughput of 64 KiB for half the CPU, and more buys little. */
export const POOL_BUFFER_BYTES = 1024 * 1024;

/** What a transfer holds at once: one being read into, one waiting, one being written. */
const BUFFERS_PER_LEASE_MAX = 3;

/** What those who hold any share, each of whom gets one: many transfers keep the processor busy without working ahead. */
const BUFFERS_WORKED_AHEAD_MAX = 12;

/** What those who hold any fill and pass on together, about: with twice as much, a turn of the event loop took 30 ms where 16 sent and received at once, and takes 15. */
const TURN_BYTES = 2 * POOL_BUFFER_BYTES;

/** Shorter pieces cost more than they spare others. */
const PIECE_BYTES_MIN = 128 * 1024;

/** What a transfer works with when the pool is used up: slower, but no client waits for another one to read on. */
const SPARE_BUFFER_BYTES = 64 * 1024;

export interface BufferPoolOptions {
  /** How much memory all transfers together may hold in pooled buffers. */
  readonly bytesMax: number;
}

/** Reused memory for bodies on their way. One pool for all transfers of a process, so that their memory has one bound. */
export interface BufferPool {
  lease(): BufferLease;
  /** What transfers hold now, and what waits to be reused. */
  readonly heldBytes: number;
}

/** One transfer's buffers. */
export interface BufferLease {
  /** Undefined while all that this transfer may hold is out: `give` one back first. */
  take(): Buffer | undefined;
  give(buffer: Buffer): void;
  /** How much of a buffer to fill, so that many transfers take short turns. */
  readonly pieceBytesMax: number;
  /** Whether a buffer is taken and not given back. */
  readonly isOut: boolean;
  /** Called once, at the end. Buffers that are still out then may be given later, or never. */
  close(): void;
}

function shareOf(holders: number): number {
  return Math.min(BUFFERS_PER_LEASE_MAX, Math.floor(BUFFERS_WORKED_AHEAD_MAX / holders));
}

export function createBufferPool({ bytesMax }: BufferPoolOptions): BufferPool {
  const buffersMax = Math.max(1, Math.floor(bytesMax / POOL_BUFFER_BYTES));
  const spare = createSpareMemory({ byteCount: POOL_BUFFER_BYTES, countMax: buffersMax });
  let out = 0;
  let holders = 0;

  const acquire = (): Buffer | undefined => {
    if (out >= buffersMax) return undefined;
    out += 1;
    return spare.take();
  };

  const lease = (): BufferLease => {
    const mine = new Set<Buffer>();
    let closed = false;
    const take = () => {
      const isFirst = mine.size === 0;
      if (closed || (!isFirst && mine.size >= shareOf(holders))) return undefined;
      const buffer = acquire() ?? Buffer.allocUnsafeSlow(SPARE_BUFFER_BYTES);
      mine.add(buffer);
      if (isFirst) holders += 1;
      return buffer;
    };
    const give = (buffer: Buffer) => {
      if (!mine.delete(buffer)) return;
      if (mine.size === 0) holders -= 1;
      if (buffer.length !== POOL_BUFFER_BYTES) return;
      out -= 1;
      spare.give(buffer);
    };
    const close = () => {
      closed = true;
      // What is still out belongs to a socket that may never tell: it is written off, and the collector takes it.
      for (const buffer of mine) if (buffer.length === POOL_BUFFER_BYTES) out -= 1;
      if (mine.size > 0) holders -= 1;
      mine.clear();
    };
    return {
      get pieceBytesMax() {
        return Math.max(PIECE_BYTES_MIN, Math.min(POOL_BUFFER_BYTES, Math.floor(TURN_BYTES / Math.max(1, holders))));
      },
      take,
      give,
      close,
      get isOut() {
        return mine.size > 0;
      },
    };
  };

  return {
    lease,
    get heldBytes() {
      return (out + spare.count) * POOL_BUFFER_BYTES;
    },
  };
}
