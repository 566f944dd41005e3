import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inOwnMemory } from './own-memory.ts';

test('a part of something larger is copied', () => {
  const part = Buffer.from('name');
  assert.ok(part.buffer.byteLength > part.length, 'Node cuts it from something larger');

  const own = inOwnMemory(part);

  assert.deepEqual(own, new Uint8Array(part));
  assert.equal(own.buffer.byteLength, part.length);
});

test('what has memory of its own is left where it is', () => {
  const whole = new Uint8Array([1, 2, 3]);

  assert.equal(inOwnMemory(whole), whole);
});
