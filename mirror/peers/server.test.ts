import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { parseSwarmKeys } from '../../certs/swarm-key.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository, Tag } from '../../common/oci/reference.ts';
import { startTestMirror, TEST_KEYS, type TestMirror } from '../../test/conformance/oci-test-mirror.ts';
import { OPEN_ACCESS } from '../access/access.ts';
import { createMemoryHub } from '../swarm/memory.ts';
import { createBufferPool } from '../transfer/buffer-pool.ts';
import { createPeerClient } from './client.ts';
import { TLS_OPTIONS } from './dial-sealed.ts';
import { createNonce, keyIdentity, peerKeys, prove } from './proof.ts';
import { createRecords } from './records.ts';
import { SEALING_NONCE_BYTES } from './sealing.ts';
import { HELLO } from './sessions.ts';

const [KEY] = TEST_KEYS;
const OTHER_KEYS = parseSwarmKeys('11'.repeat(32));
const MANIFEST = Buffer.from('{"schemaVersion":2,"layers":[]}');
const APP = { registry: 'hub.example' as Registry, repository: 'library/app' as Repository };
const REQUEST = 'GET /v2/ HTTP/1.1\r\nHost: peer\r\n\r\n';

function start(t: TestContext, encryption: 'on' | 'off', access = OPEN_ACCESS): Promise<TestMirror> {
  return startTestMirror(t, { name: 'node', hub: createMemoryHub(), encryption, access });
}

function clientOf(t: TestContext, encryption: 'on' | 'off', keys: typeof TEST_KEYS) {
  const pool = createBufferPool({ bytesMax: 4 * 1024 * 1024 });
  const client = createPeerClient(
    { pool, records: createRecords(), now: Date.now },
    { keys, encryption, limits: { dialTimeoutMs: 3000 } },
  );
  t.after(() => client.close());
  return client;
}

for (const encryption of ['on', 'off'] as const) {
  test(`tells a tag with its age, encryption ${encryption}`, async (t) => {
    const { store, peerAddress } = await start(t, encryption);
    const digest = store.put(MANIFEST);
    store.name('hub.example/library/app:1', digest, Date.now() - 60_000);

    const record = await clientOf(t, encryption, TEST_KEYS).headTag(
      peerAddress,
      { ...APP, tag: '1' as Tag },
      AbortSignal.timeout(5000),
    );

    assert.equal(record.digest, digest);
    assert.ok(Math.abs(Date.now() - 60_000 - record.resolvedAtMs) < 5000);
  });

  test(`tells who may read a manifest when it knows, encryption ${encryption}`, async (t) => {
    const { store, peerAddress } = await start(t, encryption, {
      ...OPEN_ACCESS,
      readers: ({ repository }) => (repository === APP.repository ? 'some' : undefined),
    });
    const digest = store.put(MANIFEST);
    const client = clientOf(t, encryption, TEST_KEYS);
    const other = 'library/other' as Repository;

    const said = [APP, { ...APP, repository: other }].map((name) =>
      client.headReaders(peerAddress, { ...name, digest }, AbortSignal.timeout(5000)),
    );

    assert.deepEqual(await Promise.all(said), ['some', undefined]);
  });

  test(`answers nothing to another key, encryption ${encryption}`, async (t) => {
    const { store, peerAddress } = await start(t, encryption);
    const digest = store.put(MANIFEST);
    const client = clientOf(t, encryption, OTHER_KEYS);

    const asked = client.head(peerAddress, { kind: 'blob', digest, ...APP }, AbortSignal.timeout(5000));

    await assert.rejects(asked, { code: 'ERR_PEER_UNAVAILABLE' });
  });

  test(`accepts each of two keys while one replaces the other, encryption ${encryption}`, async (t) => {
    const [old] = TEST_KEYS;
    const [next] = OTHER_KEYS;
    assert.ok(old && next);
    const { store, peerAddress } = await startTestMirror(t, {
      name: 'node',
      hub: createMemoryHub(),
      encryption,
      keys: [next, old],
    });
    const digest = store.put(MANIFEST);
    const wanted = { kind: 'blob', digest, ...APP } as const;

    for (const keys of [[old], [next]]) {
      const size = await clientOf(t, encryption, keys).head(peerAddress, wanted, AbortSignal.timeout(5000));

      assert.equal(size, MANIFEST.length);
    }
  });

  test(`says that it does not have what its peers have, encryption ${encryption}`, async (t) => {
    const hub = createMemoryHub();
    const holder = await startTestMirror(t, { name: 'holder', hub, encryption });
    const digest = holder.store.put(MANIFEST);
    await holder.advertise();
    const { peerAddress } = await startTestMirror(t, { name: 'other', hub, encryption });
    const client = clientOf(t, encryption, TEST_KEYS);

    const asked = client.head(peerAddress, { kind: 'blob', digest, ...APP }, AbortSignal.timeout(5000));

    await assert.rejects(asked, { code: 'ERR_CONTENT_NOT_FOUND' });
  });

  test(`keeps connections for the next request, encryption ${encryption}`, async (t) => {
    const { store, peerAddress } = await start(t, encryption);
    const proxy = await countConnections(t, () => peerAddress);
    const digest = store.put(MANIFEST);
    const client = clientOf(t, encryption, TEST_KEYS);
    const wanted = { kind: 'blob', digest, ...APP } as const;

    for (let count = 0; count < 5; count += 1) await client.head(proxy.address, wanted, AbortSignal.timeout(5000));
    const missing = { ...wanted, digest: `sha256:${'0'.repeat(64)}` as Digest };
    await assert.rejects(client.get(proxy.address, missing, 0, undefined, AbortSignal.timeout(5000)), {
      code: 'ERR_CONTENT_NOT_FOUND',
    });
    await client.head(proxy.address, wanted, AbortSignal.timeout(5000));

    // Encrypted, there is one for the session before it.
    assert.equal(proxy.sent.length, encryption === 'on' ? 2 : 1);
  });
}

test('TLS without the key ends before any answer', async (t) => {
  const { peerAddress } = await start(t, 'on');

  const received = await new Promise<string>((resolve) => {
    let text = '';
    const socket = tls.connect({ ...hostPort(peerAddress), rejectUnauthorized: false }, () => socket.write(REQUEST));
    socket.on('data', (bytes: Buffer) => {
      text += bytes.toString();
    });
    socket.on('error', () => {});
    socket.once('close', () => resolve(text));
  });

  assert.equal(received, '');
});

test('a client refuses a server that has no key, whatever its certificate', async (t) => {
  const server = tls.createServer({ ...TLS_OPTIONS, pskCallback: () => null }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as net.AddressInfo;
  const wanted = { kind: 'blob', digest: `sha256:${'0'.repeat(64)}` as Digest, ...APP } as const;

  const asked = clientOf(t, 'on', TEST_KEYS).head(`127.0.0.1:${port}`, wanted, AbortSignal.timeout(5000));

  await assert.rejects(asked, { code: 'ERR_PEER_UNAVAILABLE' });
});

for (const { what, lines } of [
  { what: 'a request without a proof', lines: [REQUEST] },
  { what: 'an identity that it does not know', lines: [`miroir/1/${'0'.repeat(16)} ${createNonce()}\n`] },
  { what: 'an endless line', lines: ['x'.repeat(5000)] },
  { what: 'an empty line', lines: ['\n'] },
]) {
  test(`without encryption, nothing is answered to ${what}`, async (t) => {
    const { peerAddress } = await start(t, 'off');

    const received = await exchange(peerAddress, () => lines);

    assert.equal(received, '');
  });
}

test('without encryption, a proof that was overheard is of no use on another connection', async (t) => {
  const { peerAddress } = await start(t, 'off');
  assert.ok(KEY);
  const key = peerKeys([KEY]).get(keyIdentity(KEY)) as Uint8Array;
  const client = createNonce();
  let overheard = '';
  const honest = await exchange(peerAddress, (challenge) => {
    if (challenge === undefined) return [`${keyIdentity(KEY)} ${client}\n`];
    overheard = `${prove(key, 'client', { client, server: challenge })}\n`;
    return [overheard, REQUEST.replace('\r\n\r\n', '\r\nConnection: close\r\n\r\n')];
  });

  const replayed = await exchange(peerAddress, (challenge) => {
    return challenge === undefined ? [`${keyIdentity(KEY)} ${client}\n`] : [overheard, REQUEST];
  });

  assert.match(honest, /^[0-9a-f]{32} [0-9a-f]{64}\nHTTP\/1\.1 200 /);
  assert.match(replayed, /^[0-9a-f]{32} [0-9a-f]{64}\n$/);
});

test('TLS with the key is answered too, by HTTP', async (t) => {
  const { peerAddress } = await start(t, 'on');
  assert.ok(KEY);
  const identity = keyIdentity(KEY);
  const psk = peerKeys([KEY]).get(identity) as Uint8Array;
  const socket = tls.connect({ ...hostPort(peerAddress), ...TLS_OPTIONS, pskCallback: () => ({ psk, identity }) });
  t.after(() => socket.destroy());
  socket.write(REQUEST);

  const [answer] = (await once(socket, 'data')) as [Buffer];

  assert.match(answer.toString(), /^HTTP\/1\.1 200 /);
});

test('a peer that was started again, and knows no session, is asked all the same', async (t) => {
  const before = await start(t, 'on');
  const digest = before.store.put(MANIFEST);
  let target = before.peerAddress;
  const proxy = await countConnections(t, () => target);
  const client = clientOf(t, 'on', TEST_KEYS);
  const head = () => client.head(proxy.address, { kind: 'blob', digest, ...APP }, AbortSignal.timeout(5000));
  await head();

  const after = await start(t, 'on');
  after.store.put(MANIFEST);
  target = after.peerAddress;
  proxy.cut();

  assert.equal(await head(), MANIFEST.length);
  assert.equal(await counted(after, 'miroir_peer_refused_connections_total'), 0);
});

test('a sealed connection that was overheard gives nothing when it is played again', async (t) => {
  const { store, peerAddress } = await start(t, 'on');
  const digest = store.put(MANIFEST);
  const proxy = await countConnections(t, () => peerAddress);
  await clientOf(t, 'on', TEST_KEYS).head(proxy.address, { kind: 'blob', digest, ...APP }, AbortSignal.timeout(5000));
  const overheard = proxy.sent.at(-1) as Buffer;
  assert.equal(overheard.indexOf(HELLO), 0);

  const socket = net.connect(hostPort(peerAddress), () => socket.write(overheard));
  let received = 0;
  socket.on('data', (bytes: Buffer) => {
    received += bytes.length;
  });
  socket.on('error', () => {});
  await once(socket, 'close');

  assert.equal(received, SEALING_NONCE_BYTES);
});

for (const { what, bytes } of [
  { what: 'a hello of another protocol', bytes: Buffer.from('MIROIR/9'.padEnd(40, 'x')) },
  { what: 'a session that it does not know', bytes: Buffer.concat([HELLO, Buffer.alloc(32)]) },
  { what: 'a hello that stops short', bytes: HELLO },
]) {
  test(`with encryption, nothing is answered to ${what}`, async (t) => {
    const { peerAddress } = await start(t, 'on');

    const received = await new Promise<string>((resolve) => {
      let text = '';
      const socket = net.connect(hostPort(peerAddress), () => socket.end(bytes));
      socket.on('data', (more: Buffer) => {
        text += more.toString('latin1');
      });
      socket.on('error', () => {});
      socket.once('close', () => resolve(text));
    });

    assert.equal(received, '');
  });
}

test('a node with enough to do says that it is busy', async (t) => {
  const hub = createMemoryHub();
  const { store, peerAddress } = await startTestMirror(t, { name: 'node', hub, isTooBusy: () => true });
  const digest = store.put(MANIFEST);
  const wanted = { kind: 'blob', digest, ...APP } as const;

  const asked = clientOf(t, 'on', TEST_KEYS).get(peerAddress, wanted, 0, undefined, AbortSignal.timeout(5000));

  await assert.rejects(asked, { code: 'ERR_PEER_BUSY' });
});

test('content leaves at the rate that is set', async (t) => {
  const hub = createMemoryHub();
  const { store, peerAddress } = await startTestMirror(t, { name: 'node', hub, uploadRate: 2_000_000 });
  const digest = store.put(Buffer.alloc(1_000_000, 'slow'));
  const wanted = { kind: 'blob', digest, ...APP } as const;
  const startedAt = performance.now();

  const body = await clientOf(t, 'on', TEST_KEYS).get(peerAddress, wanted, 0, undefined, AbortSignal.timeout(5000));
  const received = await new Promise<number>((resolve, reject) => {
    let count = 0;
    const chunk = (bytes: Uint8Array, release: () => void) => {
      count += bytes.length;
      release();
    };
    body.pipe({ chunk, end: () => resolve(count), failed: reject });
  });

  assert.equal(received, 1_000_000);
  // Half a second, less what may go at once and the last turn.
  assert.ok(performance.now() - startedAt > 350);
});

test('what a connection may bring is not more than its key may seal', async (t) => {
  const { store, peerAddress } = await startTestMirror(t, { name: 'node', hub: createMemoryHub() });
  const digest = store.put(MANIFEST);
  const between = await countConnections(t, () => peerAddress);
  const pool = createBufferPool({ bytesMax: 4 * 1024 * 1024 });
  const client = createPeerClient(
    { pool, records: createRecords(), now: Date.now },
    { keys: TEST_KEYS, encryption: 'on', limits: { dialTimeoutMs: 3000, connectionBytesMax: 1 } },
  );
  t.after(() => client.close());
  const ask = () => client.head(between.address, { kind: 'blob', digest, ...APP }, AbortSignal.timeout(5000));

  await ask();
  const afterOne = between.sent.length;
  await ask();

  assert.equal(between.sent.length, afterOne + 1);
});

test('one host gets so many connections and no more', async (t) => {
  const { peerAddress } = await start(t, 'off');
  const sockets = Array.from({ length: 40 }, () => net.connect(hostPort(peerAddress)));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
  });
  for (const socket of sockets) socket.on('error', () => {}).resume();

  const closed = await Promise.all(sockets.slice(32).map((socket) => once(socket, 'close')));

  assert.equal(closed.length, 8);
  assert.ok(sockets.slice(0, 32).every((socket) => !socket.closed));
});

/** Passes connections on, counts them, and keeps what their clients sent. */
async function countConnections(t: TestContext, address: () => string) {
  const sent: Buffer[] = [];
  const open = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    const nth = sent.push(Buffer.alloc(0)) - 1;
    open.add(socket);
    socket.on('data', (bytes: Buffer) => {
      sent[nth] = Buffer.concat([sent[nth] as Buffer, bytes]);
    });
    const onward = net.connect(hostPort(address()));
    socket.on('error', () => {}).pipe(onward);
    onward.on('error', () => {}).pipe(socket);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return {
    address: `127.0.0.1:${(server.address() as net.AddressInfo).port}`,
    sent,
    cut: () => {
      for (const socket of open) socket.destroy();
    },
  };
}

function hostPort(address: string): { host: string; port: number } {
  return { host: address.split(':')[0] as string, port: Number(address.split(':')[1]) };
}

/** Sends lines, then those that answer the server's challenge; all that comes back until the server closes. */
function exchange(address: string, lines: (challenge?: string) => readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    let received = '';
    const socket = net.connect(hostPort(address), () => {
      for (const line of lines()) socket.write(line);
    });
    socket.on('data', (bytes: Buffer) => {
      const isChallenge = received === '';
      received += bytes.toString('latin1');
      if (isChallenge) socket.write(lines(received.split(' ')[0]).join(''));
    });
    socket.on('error', () => {});
    socket.once('close', () => resolve(received));
  });
}

async function counted(mirror: TestMirror, name: string): Promise<number> {
  const metric = await mirror.metrics.getSingleMetric(name)?.get();
  return metric?.values[0]?.value ?? 0;
}
