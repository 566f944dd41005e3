import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import test from 'node:test';
import fc from 'fast-check';
import { createNativeCipher, createNodeCipher, type RecordCipher } from '../../mirror/peers/record-cipher.ts';
import { createRecordReader } from '../../mirror/peers/record-reader.ts';
import { createRecords } from '../../mirror/peers/records.ts';
import {
  createOpener,
  createSealer,
  deriveSealingKeys,
  RECORD_TEXT_BYTES_MAX,
  recordLength,
} from '../../mirror/peers/sealing.ts';

const { server: key } = deriveSealingKeys(randomBytes(32), randomBytes(16), randomBytes(16));
const textLengths = fc.array(
  fc.oneof(
    { arbitrary: fc.integer({ min: 1, max: 300 }), weight: 3 },
    fc.integer({ min: 1, max: RECORD_TEXT_BYTES_MAX }),
    fc.constantFrom(16 * 1024 - 20, 16 * 1024 - 19, RECORD_TEXT_BYTES_MAX),
  ),
  { minLength: 1, maxLength: 6 },
);

/** Each seals what each opens: nodes of a swarm need not have the same. */
const ciphers = { native: createNativeCipher(), node: createNodeCipher() };

test('OpenSSL can be called by the Node that the project brings', () => {
  assert.notEqual(ciphers.native, undefined);
});

test('a key seals and opens so much, and not a record more', () => {
  const cipher = createNodeCipher();
  const text = Buffer.alloc(16);
  // Each record: its text, its header and what the tag is made of.
  const seal = createSealer(cipher, key, 6);
  const open = createOpener(cipher, key, 6);
  const records = [1, 2].map(() => {
    const record = Buffer.alloc(recordLength(text.length));
    seal(text, record);
    return record;
  });
  const openRecord = (record: Buffer) => open(record.subarray(0, 4), Buffer.from(record.subarray(4)));

  assert.throws(() => seal(text, Buffer.alloc(recordLength(text.length))), /all that its key allows/);
  assert.deepEqual(records.map(openRecord), [text, text]);
  assert.equal(openRecord(records[1] as Buffer), undefined);
});

for (const [sealer, sealing] of Object.entries(ciphers)) {
  for (const [opener, opening] of Object.entries(ciphers)) {
    if (sealing !== undefined && opening !== undefined) testSealing(`${sealer} to ${opener}`, sealing, opening);
  }
}

function testSealing(how: string, sealing: RecordCipher, opening: RecordCipher): void {
  test(`${how}: what is sealed is read back, in whatever pieces it comes`, () => {
    fc.assert(
      fc.property(textLengths, fc.infiniteStream(fc.integer({ min: 1, max: 100_000 })), (lengths, pieces) => {
        const texts = lengths.map((length) => randomBytes(length));

        const read = readAll(opening, sealAll(sealing, texts), () => pieces.next().value as number);

        assert.deepEqual(read.texts, texts);
        assert.equal(read.problem, undefined);
        // Nothing but text counts as progress, and all of it does.
        assert.equal(
          read.progressBytes,
          lengths.reduce((sum, length) => sum + length, 0),
        );
      }),
      { numRuns: 60 },
    );
  });

  test(`${how}: of what was changed on its way nothing is read, nor of what follows`, () => {
    fc.assert(
      fc.property(
        textLengths,
        fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
        fc.nat(7),
        (lengths, at, bit) => {
          const texts = lengths.map((length) => randomBytes(length));
          const sealed = sealAll(sealing, texts);
          const offset = Math.floor(at * sealed.length);
          sealed[offset] = (sealed[offset] as number) ^ (1 << bit);

          const read = readAll(opening, sealed, () => sealed.length);

          assert.ok(read.texts.length < texts.length);
          assert.deepEqual(read.texts, texts.slice(0, read.texts.length));
        },
      ),
      { numRuns: 60 },
    );
  });

  for (const { what, order } of [
    { what: 'left out', order: [0, 2] },
    { what: 'repeated', order: [0, 0] },
    { what: 'moved', order: [0, 2, 1] },
  ]) {
    test(`${how}: a record that is ${what} ends what is read`, () => {
      const texts = [randomBytes(10), randomBytes(10), randomBytes(10)];
      const records = sealEach(sealing, texts);

      const read = readAll(opening, Buffer.concat(order.map((index) => records[index] as Buffer)), () => 1000);

      assert.deepEqual(read.texts, texts.slice(0, 1));
      assert.equal(read.problem, 'a record is not sealed by the peer');
    });
  }
}

for (const length of [0, RECORD_TEXT_BYTES_MAX + 1, 2 ** 32 - 1]) {
  test(`a record that announces ${length} bytes is none`, () => {
    const header = Buffer.alloc(4);
    header.writeUInt32BE(length);

    const read = readAll(createNodeCipher(), header, () => 4);

    assert.deepEqual(read.texts, []);
    assert.equal(read.problem, 'a record is longer than a peer sends');
  });
}

function sealEach(cipher: RecordCipher, texts: readonly Uint8Array[]): Buffer[] {
  const seal = createSealer(cipher, key);
  return texts.map((text) => {
    const record = Buffer.alloc(recordLength(text.length));
    seal(text, record);
    return record;
  });
}

function sealAll(cipher: RecordCipher, texts: readonly Uint8Array[]): Buffer {
  return Buffer.concat(sealEach(cipher, texts));
}

/** Reads as a socket does: so many bytes at a time, into the memory that the reader names. */
function readAll(
  cipher: RecordCipher,
  bytes: Buffer,
  piece: () => number,
): { texts: Buffer[]; problem: string | undefined; progressBytes: number } {
  const texts: Buffer[] = [];
  let problem: string | undefined;
  let progressBytes = 0;
  const reader = createRecordReader(createRecords(cipher), 1, {
    first: () => {},
    progress: (count) => {
      progressBytes += count;
    },
    text: (text, give) => {
      texts.push(Buffer.from(text));
      give();
      return true;
    },
    broken: (told) => {
      problem = told;
    },
  });
  reader.open(createOpener(cipher, key));
  const stream = Buffer.concat([Buffer.alloc(1), bytes]);
  for (let offset = 0; offset < stream.length && problem === undefined; ) {
    const buffer = (reader.onread.buffer as () => Uint8Array)();
    const count = Math.min(buffer.length, piece(), stream.length - offset);
    assert.ok(count > 0);
    buffer.set(stream.subarray(offset, offset + count));
    reader.onread.callback(count, buffer);
    offset += count;
  }
  return { texts, problem, progressBytes };
}
