import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createReadAhead, type Early, TURNS_LIMITS } from './read-ahead.ts';

function start() {
  const clock = { ms: 0 };
  return { clock, readAhead: createReadAhead({ now: () => clock.ms }) };
}

test('what was stored of a part is copied, and comes back once and in order', () => {
  const early = start().readAhead.begin() as Early;
  const bytes = Uint8Array.of(1, 2, 3);

  early.store(7, bytes);
  bytes.fill(0);
  early.store(8, Uint8Array.of(9));
  early.store(7, Uint8Array.of(4));

  assert.deepEqual([...early.take(7).bytes], [1, 2, 3, 4]);
  assert.deepEqual([...early.take(8).bytes], [9]);
  assert.throws(() => early.take(7));
});

test('a part holds no more than it may', () => {
  const early = start().readAhead.begin() as Early;
  early.store(1, new Uint8Array(TURNS_LIMITS.partBytes));

  assert.throws(() => early.store(1, Uint8Array.of(1)), RangeError);
});

test('only a few relays read ahead, and one more when one has given back all of its memory', () => {
  const { readAhead } = start();
  const begun = [readAhead.begin(), readAhead.begin()] as [Early, Early];
  assert.equal(readAhead.begin(), undefined);
  begun[0].store(1, Uint8Array.of(1));
  const taken = begun[0].take(1);

  begun[0].close();
  assert.equal(readAhead.begin(), undefined);
  taken.release();

  assert.notEqual(readAhead.begin(), undefined);
  begun[0].close();
  assert.equal(readAhead.begin(), undefined);
});

test('where it was in vain nobody reads ahead for a minute', () => {
  const { clock, readAhead } = start();
  readAhead.wasInVain();

  assert.equal(readAhead.begin(), undefined);
  clock.ms = 60_000;
  assert.notEqual(readAhead.begin(), undefined);
});
