import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import { test } from 'node:test';
import { openFileOf } from '../../test/conformance/open-file-of.ts';
import { createReadNow } from './read-now.ts';

const BYTES = randomBytes(64 * 1024);

function readNow(...asked: Parameters<NonNullable<ReturnType<typeof createReadNow>>>): boolean {
  const read = createReadNow();
  assert.ok(read !== undefined, 'the Node that the project brings can call the C library');
  return read(...asked);
}

test('what is in memory is read at once, to where it was asked to be and nowhere else', async (t) => {
  const file = await openFileOf(t, BYTES);
  const memory = Buffer.alloc(10_000);

  assert.equal(readNow(file.fd, memory.subarray(1_000, 9_000), 500), true);

  assert.ok(memory.subarray(1_000, 9_000).equals(BYTES.subarray(500, 8_500)));
  assert.ok([...memory.subarray(0, 1_000), ...memory.subarray(9_000)].every((byte) => byte === 0));
});

test('what ends behind the file is not read', async (t) => {
  const file = await openFileOf(t, BYTES);

  assert.equal(readNow(file.fd, Buffer.alloc(1_000), BYTES.length - 999), false);
  assert.equal(readNow(file.fd, Buffer.alloc(1_000), BYTES.length + 1), false);
});

test('a file that is closed is not read', async (t) => {
  const file = await openFileOf(t, BYTES);
  const other = await fs.open('/dev/null', 'w');
  const { fd } = other;
  await other.close();

  assert.equal(readNow(fd, Buffer.alloc(10), 0), false);
  assert.equal(readNow(file.fd, Buffer.alloc(10), 0), true);
});
