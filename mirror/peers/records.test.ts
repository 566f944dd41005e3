import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRecords } from './records.ts';
import { RECORD_TEXT_BYTES_MAX } from './sealing.ts';

test('what eight relays and eight uploads use in turns is the same memory again', () => {
  const records = createRecords();
  const lend = () => Array.from({ length: 24 }, () => records.lend(RECORD_TEXT_BYTES_MAX));
  const first = lend();
  for (const { give } of first) give();

  const memory = new Set(first.map(({ bytes }) => bytes.buffer));
  const isAgain = lend().map(({ bytes }) => memory.has(bytes.buffer));

  assert.deepEqual(isAgain, Array(24).fill(true));
});
