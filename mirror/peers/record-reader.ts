import type { OnReadOpts } from 'node:net';
import type { Lent, Records } from './records.ts';
import { type Open, RECORD_HEADER_BYTES, RECORD_TAG_BYTES, recordBytes } from './sealing.ts';

export interface RecordReaderEvents {
  /** The bytes before the first record. */
  first(bytes: Buffer): void;
  /** The text of a record; `give` must be called when it is no longer needed. False to stop reading. */
  text(bytes: Uint8Array, give: () => void): boolean;
  /** So many bytes came of a record's text: what frames it is no progress, or a peer could get by with empty words. */
  progress(byteCount: number): void;
  /** What came is no record, or not from the other end. */
  broken(problem: string): void;
}

export interface RecordReader {
  /** What a socket reads through: never more than a record and the header behind it. */
  readonly onread: OnReadOpts;
  /** Called once, in answer to `first`. */
  open(opener: Open): void;
}

/** Reads records from a socket, each into memory of its own, where it is opened too, in as few pieces as the kernel has them. */
export function createRecordReader(records: Records, firstBytes: number, events: RecordReaderEvents): RecordReader {
  /** What comes before and between records. */
  const between = new Uint8Array(Math.max(firstBytes, RECORD_HEADER_BYTES));
  let lent: Lent | undefined;
  const header = new Uint8Array(RECORD_HEADER_BYTES);
  let opener: Open | undefined;
  let isFirst = true;
  /** Of the record that is being read, with its tag; 0 before its header is there. */
  let wanted = 0;
  let target: Uint8Array = between.subarray(0, firstBytes);
  let filled = 0;

  /** What follows a header, and the header behind that. */
  const expect = (byteCount: number) => {
    wanted = byteCount;
    filled = 0;
    lent = records.lend(byteCount + RECORD_HEADER_BYTES);
    target = lent.bytes;
  };

  const filledText = () => Math.min(filled, wanted - RECORD_TAG_BYTES);

  const takeHeader = (bytes: Uint8Array): boolean => {
    header.set(bytes);
    const byteCount = recordBytes(header);
    if (byteCount === undefined) {
      events.broken('a record is longer than a peer sends');
      return false;
    }
    expect(byteCount);
    return true;
  };

  const takeRecord = (): boolean => {
    const text = opener?.(header, target.subarray(0, wanted));
    if (text === undefined) {
      events.broken('a record is not sealed by the peer');
      return false;
    }
    const { give } = lent as Lent;
    // Its memory may be lent to somebody else as soon as the text is given back.
    const behind = between.subarray(0, filled - wanted);
    behind.set(target.subarray(wanted, filled));
    target = between.subarray(0, RECORD_HEADER_BYTES);
    filled = behind.length;
    wanted = 0;
    const mayGoOn = events.text(text, give);
    return behind.length < RECORD_HEADER_BYTES ? mayGoOn : takeHeader(behind) && mayGoOn;
  };

  const callback = (byteCount: number): boolean => {
    const before = filledText();
    filled += byteCount;
    if (wanted > 0) events.progress(filledText() - before);
    if (isFirst) {
      if (filled < firstBytes) return true;
      isFirst = false;
      events.first(Buffer.from(target));
      target = between.subarray(0, RECORD_HEADER_BYTES);
      filled = 0;
      return true;
    }
    if (wanted === 0) return filled < RECORD_HEADER_BYTES || takeHeader(target.subarray(0, filled));
    return filled < wanted || takeRecord();
  };

  return {
    onread: { buffer: () => target.subarray(filled), callback },
    open: (known) => {
      opener = known;
    },
  };
}
