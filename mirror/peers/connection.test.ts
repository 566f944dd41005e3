import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createBufferPool } from '../transfer/buffer-pool.ts';
import { createPeerConnection, type PeerConnection } from './connection.ts';

const LIMITS = { firstByteTimeoutMs: 1000, progressWindowMs: 50, progressBytesMin: 10 };
const HEAD = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n');

function open(bodies = { count: 0 }): PeerConnection {
  return createPeerConnection({ pool: createBufferPool({ bytesMax: 1 }), bodies, stalled: () => {} }, LIMITS);
}

/** One whose body is being read, by a client that takes none of it. */
async function openForSlowClient(bodies: { count: number }): Promise<PeerConnection> {
  const connection = open(bodies);
  connection.attach({ write: () => {}, resume: () => {}, destroy: () => {}, on: () => {} });
  const head = connection.request('GET', () => true);
  connection.take(HEAD, () => {});
  await head;
  connection.pipe({ chunk: () => {}, end: () => {}, failed: () => {} });
  return connection;
}

function recordsTaken(connection: PeerConnection): number {
  let count = 1;
  while (connection.take(Buffer.from('text'), () => {})) count += 1;
  return count;
}

test('a connection holds four records for a slow client, and one of many connections one', async (t) => {
  const alone = await openForSlowClient({ count: 0 });
  const bodies = { count: 0 };
  const many = await Promise.all(Array.from({ length: 8 }, () => openForSlowClient(bodies)));
  t.after(() => {
    for (const connection of [alone, ...many]) connection.close();
  });

  assert.equal(recordsTaken(alone), 4);
  assert.deepEqual(new Set(many.map(recordsTaken)), new Set([1]));
});

test('a connection whose client has not taken the end of a body listens to the next answer', async (t) => {
  const connection = await openForSlowClient({ count: 0 });
  t.after(() => connection.close());
  const record = Buffer.alloc(250);
  const goesOn = [1, 2, 3, 4].map(() => connection.take(record, () => {}));

  assert.deepEqual(goesOn, [true, true, true, true]);
});

test('a connection that breaks leaves its share to the others', async (t) => {
  const bodies = { count: 0 };
  const many = await Promise.all(Array.from({ length: 8 }, () => openForSlowClient(bodies)));
  const [left, ...broken] = many as [PeerConnection, ...PeerConnection[]];
  t.after(() => left.close());

  for (const connection of broken) connection.close();

  assert.equal(recordsTaken(left), 4);
});

for (const { title, byteCount, isOpen } of [
  { title: 'a peer whose record comes slowly is waited for', byteCount: 100, isOpen: true },
  { title: 'a peer whose record stops coming has stalled', byteCount: 0, isOpen: false },
]) {
  test(title, async (t) => {
    const connection = open();
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
  const connections = ['silent', 'heard'].map(() => open());
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
