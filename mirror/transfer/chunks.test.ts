import assert from 'node:assert/strict';
import test from 'node:test';
import { createChunks } from './chunks.ts';

const FROM_START = { start: 0 };
const REST = { start: 2_000_000 };

test('the rest of a layer may begin chunks until a whole one was asked for', () => {
  const chunks = createChunks();
  assert.equal(chunks.mayBegin(REST), true);

  chunks.seen(REST);
  assert.equal(chunks.mayBegin(REST), true);

  chunks.seen(undefined);
  assert.equal(chunks.mayBegin(REST), false);
});

test('who asks for the start of a layer by a range fetches in chunks, also beside one who does not', () => {
  const chunks = createChunks();
  chunks.seen(undefined);
  assert.equal(chunks.areFetched(), false);

  chunks.seen(FROM_START);
  chunks.seen(undefined);

  assert.equal(chunks.areFetched(), true);
  assert.equal(chunks.mayBegin(REST), true);
});

test('what is asked for from its start, or to an end, begins no chunks', () => {
  const chunks = createChunks();
  for (const asked of [undefined, FROM_START, { start: 5, end: 9 }, { last: 5 }]) {
    assert.equal(chunks.mayBegin(asked), false);
  }
});
