import { createSpareMemory } from '../../common/spare-memory.ts';
import { createRecordCipher, type RecordCipher } from './record-cipher.ts';
import { RECORD_HEADER_BYTES, RECORD_TAG_BYTES, RECORD_TEXT_BYTES_MAX } from './sealing.ts';

/** A record with the header of the next, as they are read in one go. */
const LARGE_BYTES = RECORD_HEADER_BYTES + RECORD_TEXT_BYTES_MAX + RECORD_TAG_BYTES + RECORD_HEADER_BYTES;

/** Heads, and what else is small, need not be kept for later. */
const SMALL_BYTES = 16 * 1024;

/**
 * What sixteen busy connections use in turns, 12 MiB. With less, each record that was over was new memory, and had the collector run twice as
 * often: 10 ms at a time in which nothing else is done.
 */
const SPARE_MAX = 24;

/** Memory that is given back by `give`, once; or never, when its connection broke. */
export interface Lent {
  readonly bytes: Uint8Array;
  readonly give: () => void;
}

/** What all sealed connections of a mirror share. */
export interface Records {
  readonly cipher: RecordCipher;
  /** At most a record and the header of the next. */
  lend(byteCount: number): Lent;
}

export function createRecords(cipher = createRecordCipher()): Records {
  const spare = createSpareMemory({ byteCount: LARGE_BYTES, countMax: SPARE_MAX });
  return {
    cipher,
    lend: (byteCount) => {
      if (byteCount <= SMALL_BYTES) return { bytes: Buffer.allocUnsafe(byteCount), give: () => {} };
      const buffer = spare.take();
      return { bytes: buffer.subarray(0, byteCount), give: () => spare.give(buffer) };
    },
  };
}
