import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createBufferPool } from '../transfer/buffer-pool.ts';
import { createPeerConnection } from './connection.ts';

const LIMITS = { firstByteTimeoutMs: 1000, progressWindowMs: 50, progressBytesMin: 10 };
const HEAD = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n');

for (const { title, byteCount, isOpen } of [
  { title: 'a peer whose record comes slowly is waited for', byteCount: 100, isOpen: true },
  { title: 'a peer whose record stops coming has stalled', byteCount: 0, isOpen: false },
]) {
  test(title, async (t) => {
    const connection = createPeerConnection(createBufferPool({ bytesMax: 1 }), LIMITS);
    t.after(() => connection.close());
    connection.attach({ write: () => {}, resume: () => {}, destroy: () => {}, on: () => {} });
    const head = connection.request('GET', () => true);
    connection.take(HEAD, () => {});
    await head;
    connection.pipe({ chunk: (_bytes, release) => release(), end: () => {}, failed: () => {} });

    for (let count = 0; count < 20; count += 1) {
      connection.progress(byteCount);
      await delay(10);
    }

    assert.equal(connection.isOpen, isOpen);
  });
}

test('a connection fails with another one to the same peer, unless something came on it meanwhile', async (t) => {
  const connections = ['silent', 'heard'].map(() => createPeerConnection(createBufferPool({ bytesMax: 1 }), LIMITS));
  for (const connection of connections) {
    t.after(() => connection.close());
    connection.attach({ write: () => {}, resume: () => {}, destroy: () => {}, on: () => {} });
  }
  await delay(60);
  connections[1]?.progress(1);

  for (const connection of connections) connection.failIfSilent();

  assert.deepEqual(
    connections.map(({ isOpen }) => isOpen),
    [false, true],
  );
});
