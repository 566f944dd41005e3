import assert from 'node:assert/strict';
import test from 'node:test';
import { type BufferLease, createBufferPool, POOL_BUFFER_BYTES } from './buffer-pool.ts';

function leases(count: number): BufferLease[] {
  const pool = createBufferPool({ bytesMax: 24 * POOL_BUFFER_BYTES });
  return Array.from({ length: count }, () => pool.lease());
}

for (const { holders, pieceBytes } of [
  { holders: 1, pieceBytes: POOL_BUFFER_BYTES },
  { holders: 2, pieceBytes: POOL_BUFFER_BYTES },
  { holders: 8, pieceBytes: POOL_BUFFER_BYTES / 4 },
  { holders: 100, pieceBytes: 128 * 1024 },
]) {
  test(`of ${holders} that send at once, each fills ${pieceBytes} bytes at a time`, () => {
    const all = leases(holders);
    for (const lease of all) lease.take();

    assert.ok(all.every(({ pieceBytesMax }) => pieceBytesMax === pieceBytes));
  });
}

test('who has given all back counts no more', () => {
  const all = leases(8);
  for (const lease of all) lease.give(lease.take() as Buffer);

  assert.equal((all[0] as BufferLease).pieceBytesMax, POOL_BUFFER_BYTES);
});
