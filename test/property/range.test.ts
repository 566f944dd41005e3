import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { applyRange, formatContentRange, formatRange, parseContentRange, parseRange } from '../../common/http/range.ts';

const size = fc.nat({ max: 2 ** 40 });
const offset = fc.nat({ max: 2 ** 41 });

test('what is formatted is parsed back', () => {
  fc.assert(
    fc.property(offset, fc.option(fc.integer({ min: 1, max: 2 ** 40 }), { nil: undefined }), (start, length) => {
      const end = length === undefined ? undefined : start + length;
      assert.deepEqual(parseRange(formatRange(start, end)), { start, ...(end !== undefined && { end }) });
    }),
  );
});

test('a range that applies lies within the whole and is not empty', () => {
  fc.assert(
    fc.property(
      size,
      fc.oneof(offset, fc.constant('')),
      fc.oneof(offset, fc.constant('')),
      (sizeBytes, first, last) => {
        const range = applyRange(parseRange(`bytes=${first}-${last}`), sizeBytes);
        if (typeof range === 'string') return;
        assert.ok(0 <= range.start && range.start < range.end && range.end <= sizeBytes);
      },
    ),
  );
});

test('ranges that follow each other return each byte once', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), fc.array(fc.nat({ max: 299 })), (bytes, cuts) => {
      const edges = [...new Set([0, ...cuts.map((cut) => cut % bytes.length), bytes.length])].sort((a, b) => a - b);
      const read: number[] = [];
      for (const [index, start] of edges.slice(0, -1).entries()) {
        const range = applyRange(parseRange(formatRange(start, edges[index + 1])), bytes.length);
        assert.ok(typeof range === 'object');
        read.push(...bytes.subarray(range.start, range.end));
      }
      assert.deepEqual(read, [...bytes]);
    }),
  );
});

test('what is no single range of bytes means the whole', () => {
  const text = fc.oneof(
    fc.string(),
    fc.string().map((rest) => `bytes=${rest}`),
  );
  fc.assert(
    fc.property(text, (header) => {
      if (/^bytes=\s*\d*-\d*\s*$/i.test(header)) return;
      assert.equal(applyRange(parseRange(header), 1000), 'whole');
    }),
  );
});

test('content ranges are parsed back, and those that contradict themselves are not', () => {
  fc.assert(
    fc.property(offset, offset, offset, (start, end, sizeBytes) => {
      const parsed = parseContentRange(`bytes ${start}-${end - 1}/${sizeBytes}`);
      if (end <= 0 || start >= end || end > sizeBytes) assert.equal(parsed, undefined);
      else assert.equal(formatContentRange(parsed?.range, sizeBytes), `bytes ${start}-${end - 1}/${sizeBytes}`);
    }),
  );
});

for (const { header, bytes, applied } of [
  { header: undefined, bytes: 8, applied: 'whole' },
  { header: 'bytes=0-', bytes: 8, applied: 'whole' },
  { header: 'bytes=0-3', bytes: 8, applied: { start: 0, end: 4 } },
  { header: 'bytes=4-', bytes: 8, applied: { start: 4, end: 8 } },
  { header: 'bytes=7-100', bytes: 8, applied: { start: 7, end: 8 } },
  { header: 'bytes=-3', bytes: 8, applied: { start: 5, end: 8 } },
  { header: 'bytes=-100', bytes: 8, applied: { start: 0, end: 8 } },
  { header: 'bytes=8-', bytes: 8, applied: 'unsatisfiable' },
  { header: 'bytes=-0', bytes: 8, applied: 'unsatisfiable' },
  { header: 'bytes=1-', bytes: 0, applied: 'unsatisfiable' },
  { header: 'bytes=3-1', bytes: 8, applied: 'whole' },
  { header: 'bytes=0-1,3-4', bytes: 8, applied: 'whole' },
  { header: 'lines=0-1', bytes: 8, applied: 'whole' },
  { header: 'bytes=9999999999999999-', bytes: 8, applied: 'whole' },
]) {
  test(`range ${header} of ${bytes} bytes means ${JSON.stringify(applied)}`, () => {
    const actual = applyRange(parseRange(header), bytes);

    assert.deepEqual(actual, applied);
  });
}
