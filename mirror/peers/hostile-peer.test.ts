import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import net, { type AddressInfo, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { describe, type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import tls from 'node:tls';
import type { Digest } from '../../common/oci/digest.ts';
import { ask, startTestMirror, TEST_KEYS } from '../../test/conformance/oci-test-mirror.ts';
import { createMemoryHub, createMemoryRouter, type MemoryHub } from '../swarm/memory.ts';
import { digestKey } from '../swarm/router.ts';

import { acceptProof } from './accept.ts';
import { acceptSealed } from './accept-sealed.ts';
import { TLS_OPTIONS } from './dial-sealed.ts';
import { peerKeys } from './proof.ts';
import { createRecords } from './records.ts';
import { createSessions, SESSION_PROTOCOL } from './sessions.ts';

/** More than what is kept and verified before the client gets any. */
const LARGE = randomBytes(2 * 1024 * 1024);
const HALF = LARGE.length / 2;
const CONTAINERD = { headers: { 'user-agent': 'containerd/2.4.2' } };

interface Asked {
  readonly digest: string;
  readonly socket: Duplex;
}

interface HostilePeer {
  readonly does: string;
  readonly answer: (asked: Asked) => void;
  /** With an honest peer next to it: whether the client gets all of it, or all but an end that it comes back for. */
  readonly withHonest: 'whole' | 'short';
  /** By itself: whether the client is sent on by a 404, or gets a part and an end that it comes back for. */
  readonly alone: 404 | 'short';
  readonly isBanned?: true;
}

const head = (digest: string, length: number = LARGE.length, extra = '') =>
  `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\nDocker-Content-Digest: ${digest}\r\n${extra}\r\n`;
const corruptAt = (offset: number) => {
  const bytes = Buffer.from(LARGE);
  bytes[offset] = (bytes[offset] as number) ^ 1;
  return bytes;
};

const HOSTILE: readonly HostilePeer[] = [
  { does: 'closes at once', answer: ({ socket }) => socket.destroy(), withHonest: 'whole', alone: 404 },
  { does: 'says nothing', answer: () => {}, withHonest: 'whole', alone: 404 },
  {
    does: 'stops within the head',
    answer: ({ socket }) => socket.write('HTTP/1.1 200'),
    withHonest: 'whole',
    alone: 404,
  },
  {
    does: 'sends an endless head',
    answer: ({ socket }) => socket.write(`HTTP/1.1 200 OK\r\n${'X: y\r\n'.repeat(4000)}`),
    withHonest: 'whole',
    alone: 404,
  },
  {
    does: 'is no HTTP server',
    answer: ({ socket }) => socket.write('SSH-2.0-x\r\n\r\n'),
    withHonest: 'whole',
    alone: 404,
  },
  {
    does: 'speaks HTTP/1.0',
    answer: ({ socket, digest }) => socket.write(head(digest).replace('1.1', '1.0')),
    withHonest: 'whole',
    alone: 404,
  },
  {
    does: 'redirects',
    answer: ({ socket }) =>
      socket.write('HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n'),
    withHonest: 'whole',
    alone: 404,
  },
  {
    does: 'answers without a length',
    answer: ({ socket, digest }) => socket.write(`HTTP/1.1 200 OK\r\nDocker-Content-Digest: ${digest}\r\n\r\nabc`),
    withHonest: 'whole',
    alone: 404,
  },
  {
    does: 'answers in chunks',
    answer: ({ socket, digest }) => socket.write(head(digest, LARGE.length, 'Transfer-Encoding: chunked\r\n')),
    withHonest: 'whole',
    alone: 404,
  },
  {
    does: 'names two lengths',
    answer: ({ socket, digest }) => socket.write(head(digest, LARGE.length, 'Content-Length: 5\r\n')),
    withHonest: 'whole',
    alone: 404,
  },
  {
    does: 'answers for another digest',
    answer: ({ socket }) => socket.write(head(`sha256:${'0'.repeat(64)}`)),
    withHonest: 'whole',
    alone: 404,
  },
  {
    does: 'answers a part where the whole was asked for',
    answer: ({ socket, digest }) =>
      socket.write(head(digest, 10, 'Content-Range: bytes 0-9/10\r\n').replace('200 OK', '206 Part')),
    withHonest: 'whole',
    alone: 404,
  },
  {
    does: 'claims an impossible length',
    answer: ({ socket, digest }) => socket.write(head(digest, 10 ** 14)),
    withHonest: 'whole',
    alone: 404,
  },
  { does: 'answers 404', answer: ({ socket }) => refuse(socket, 404), withHonest: 'whole', alone: 404 },
  { does: 'answers 503', answer: ({ socket }) => refuse(socket, 503), withHonest: 'whole', alone: 404 },
  {
    does: 'sends a head and hangs',
    answer: ({ socket, digest }) => socket.write(head(digest)),
    withHonest: 'whole',
    alone: 404,
  },
  {
    does: 'sends a head and closes',
    answer: ({ socket, digest }) => socket.end(head(digest)),
    withHonest: 'whole',
    alone: 404,
  },
  {
    does: 'closes after one byte',
    answer: ({ socket, digest }) => socket.end(Buffer.concat([Buffer.from(head(digest)), LARGE.subarray(0, 1)])),
    withHonest: 'whole',
    alone: 'short',
  },
  {
    does: 'closes at half',
    answer: ({ socket, digest }) => socket.end(Buffer.concat([Buffer.from(head(digest)), LARGE.subarray(0, HALF)])),
    withHonest: 'whole',
    alone: 'short',
  },
  {
    does: 'resets at half',
    answer: ({ socket, digest }) => {
      socket.write(head(digest));
      socket.write(LARGE.subarray(0, HALF), () => reset(socket));
    },
    withHonest: 'whole',
    alone: 'short',
  },
  {
    does: 'hangs at half',
    answer: ({ socket, digest }) => socket.write(Buffer.concat([Buffer.from(head(digest)), LARGE.subarray(0, HALF)])),
    withHonest: 'whole',
    alone: 'short',
  },
  {
    does: 'closes before the last byte',
    answer: ({ socket, digest }) => socket.end(Buffer.concat([Buffer.from(head(digest)), LARGE.subarray(0, -1)])),
    withHonest: 'whole',
    alone: 'short',
  },
  {
    does: 'sends a byte now and then',
    answer: ({ socket, digest }) => {
      socket.write(head(digest));
      let offset = 0;
      const timer = setInterval(() => socket.write(LARGE.subarray(offset, ++offset)), 20);
      socket.once('close', () => clearInterval(timer));
    },
    withHonest: 'whole',
    alone: 'short',
  },
  {
    does: 'sends more than it promised',
    answer: ({ socket, digest }) => socket.write(Buffer.concat([Buffer.from(head(digest)), LARGE, LARGE])),
    withHonest: 'whole',
    alone: 'short',
  },
  {
    does: 'promises and sends too much',
    answer: ({ socket, digest }) =>
      socket.write(Buffer.concat([Buffer.from(head(digest, LARGE.length + 9)), LARGE, LARGE.subarray(0, 9)])),
    withHonest: 'short',
    alone: 'short',
    isBanned: true,
  },
  {
    does: 'promises and sends too little',
    answer: ({ socket, digest }) =>
      socket.write(Buffer.concat([Buffer.from(head(digest, LARGE.length - 9)), LARGE.subarray(0, -9)])),
    withHonest: 'short',
    alone: 'short',
    isBanned: true,
  },
  ...[0, HALF, LARGE.length - 1].map(
    (offset): HostilePeer => ({
      does: `sends byte ${offset} wrong`,
      answer: ({ socket, digest }) => socket.write(Buffer.concat([Buffer.from(head(digest)), corruptAt(offset)])),
      withHonest: 'short',
      alone: 'short',
      isBanned: true,
    }),
  ),
];

/** In which a peer of this test must show progress: enough for an honest one on a busy machine. */
const LIMITS = { dialTimeoutMs: 2000, firstByteTimeoutMs: 2000, progressWindowMs: 2000, progressBytesMin: 1024 };

for (const encryption of ['off', 'on'] as const) {
  describe(`a peer, encryption ${encryption}, that`, { concurrency: 8 }, () => {
    for (const { does, answer, withHonest, alone, isBanned } of HOSTILE) {
      test(`${does}: with an honest one, the client gets ${withHonest === 'whole' ? 'all of it' : 'no complete answer'}`, async (t) => {
        const hub = createMemoryHub();
        await startHostilePeer(t, hub, encryption, answer);
        const honest = await startTestMirror(t, { name: 'honest', hub, encryption });
        const digest = honest.store.put(LARGE);
        await honest.advertise();
        const asker = await startTestMirror(t, { name: 'asker', hub, encryption, clientLimits: LIMITS });

        const response = await ask(`${asker.url}/v2/library/app/blobs/${digest}`);

        assert.equal(response.status, 200);
        assert.equal(response.isShort, withHonest === 'short');
        if (withHonest === 'whole') assert.ok(response.body.equals(LARGE));
        else assert.ok(response.body.length > 0 && response.body.length <= LARGE.length);
        assert.equal(await counted(asker, 'miroir_peer_bans_total'), isBanned ? 1 : 0);
      });

      test(`${does}: by itself, the client ${alone === 404 ? 'is sent on' : 'gets an end that it recovers from'}`, async (t) => {
        const hub = createMemoryHub();
        const asker = await startTestMirror(t, { name: 'asker', hub, encryption, clientLimits: LIMITS });
        const digest = await startHostilePeer(t, hub, encryption, answer);

        const response = await ask(`${asker.url}/v2/library/app/blobs/${digest}`);

        if (alone === 404) return assert.equal(response.status, 404);
        assert.equal(response.status, 200);
        // One that sends more than it promised has sent all of it.
        if (response.isShort) assert.ok(response.body.length > 0 && response.body.length < LARGE.length + 9);
        else assert.ok(response.body.equals(LARGE));
      });
    }
  });
}

test('a peer that sent wrong bytes is not asked again', async (t) => {
  const hub = createMemoryHub();
  let count = 0;
  const asker = await startTestMirror(t, { name: 'asker', hub, encryption: 'off' });
  const digest = await startHostilePeer(t, hub, 'off', ({ socket, digest }) => {
    count += 1;
    socket.write(Buffer.concat([Buffer.from(head(digest)), corruptAt(5)]));
  });

  const first = await ask(`${asker.url}/v2/library/app/blobs/${digest}`);
  const second = await ask(`${asker.url}/v2/library/app/blobs/${digest}`);

  assert.equal(first.isShort, true);
  assert.equal(second.status, 404);
  assert.equal(count, 1);
});

test('containerd, which compares what it gets, is sent elsewhere when it asks again, and who sent wrong bytes is banned', async (t) => {
  const hub = createMemoryHub();
  const asker = await startTestMirror(t, { name: 'asker', hub, encryption: 'off' });
  const digest = await startHostilePeer(t, hub, 'off', ({ socket, digest }) => {
    socket.write(Buffer.concat([Buffer.from(head(digest)), corruptAt(5)]));
  });
  const honest = await startTestMirror(t, { name: 'honest', hub, encryption: 'off' });
  honest.store.put(LARGE);
  await honest.advertise();
  const url = `${asker.url}/v2/library/app/blobs/${digest}`;

  const wrong = await ask(url, CONTAINERD);
  const right = await ask(url, CONTAINERD);

  assert.equal(wrong.isShort, false);
  assert.ok(!wrong.body.equals(LARGE));
  assert.ok(right.body.equals(LARGE));
  await until(t, async () => (await counted(asker, 'miroir_peer_bans_total')) === 1);
});

for (const difference of [9, -9]) {
  test(`a peer whose content is ${difference} bytes longer than the manifest says is passed over`, async (t) => {
    const hub = createMemoryHub();
    const asker = await startTestMirror(t, { name: 'asker', hub, encryption: 'off' });
    const digest = await startHostilePeer(t, hub, 'off', ({ socket, digest }) => {
      const bytes = difference < 0 ? LARGE.subarray(0, difference) : Buffer.concat([LARGE, Buffer.alloc(difference)]);
      socket.write(Buffer.concat([Buffer.from(head(digest, bytes.length)), bytes]));
    });
    const honest = await startTestMirror(t, { name: 'honest', hub, encryption: 'off' });
    honest.store.put(LARGE);
    const descriptor = { mediaType: 'application/vnd.oci.image.layer.v1.tar', digest, size: LARGE.length };
    const manifest = honest.store.put(Buffer.from(JSON.stringify({ schemaVersion: 2, layers: [descriptor] })));
    await honest.advertise();
    await ask(`${asker.url}/v2/library/app/manifests/${manifest}`, CONTAINERD);

    const { body } = await ask(`${asker.url}/v2/library/app/blobs/${digest}`, CONTAINERD);

    assert.ok(body.equals(LARGE));
  });
}

test('what arrived in the store makes no peer a suspect', async (t) => {
  const hub = createMemoryHub();
  const asker = await startTestMirror(t, { name: 'asker', hub, encryption: 'off' });
  let count = 0;
  const digest = await startHostilePeer(t, hub, 'off', ({ socket, digest }) => {
    count += 1;
    socket.write(Buffer.concat([Buffer.from(head(digest)), LARGE]));
  });
  const url = `${asker.url}/v2/library/app/blobs/${digest}`;

  await ask(url, CONTAINERD);
  asker.arrived(digest);
  const again = await ask(url, CONTAINERD);

  assert.ok(again.body.equals(LARGE));
  assert.equal(count, 2);
});

/** A member of the swarm that says it holds LARGE, and answers as it likes. */
async function startHostilePeer(
  t: TestContext,
  hub: MemoryHub,
  encryption: 'on' | 'off',
  answer: (asked: Asked) => void,
): Promise<Digest> {
  const keys = peerKeys(TEST_KEYS);
  const keyOf = (identity: string) => Buffer.from(keys.get(identity) as Uint8Array);
  const sockets = new Set<Socket>();
  const listen = (stream: Duplex) => {
    stream.on('error', () => {});
    stream.on('data', (bytes: Buffer) => {
      const digest = /\/(sha256:[0-9a-f]{64})/.exec(bytes.toString('latin1'))?.[1];
      if (digest !== undefined) answer({ digest, socket: stream });
    });
  };
  const sealed = { sessions: createSessions(Date.now), records: createRecords() };
  const tlsServer = tls.createServer(
    { ...TLS_OPTIONS, ALPNProtocols: [SESSION_PROTOCOL], pskCallback: (_socket, identity) => keyOf(identity) },
    (socket) => sealed.sessions.begin(socket),
  );
  const accept = async (socket: Socket) => {
    try {
      if (encryption === 'off') {
        await acceptProof(socket, keyOf, 5000);
        return listen(socket);
      }
      const stream = await acceptSealed(socket, sealed, 5000);
      if (stream === 'tls') tlsServer.emit('connection', socket);
      else if (stream === 'forgotten') socket.destroy();
      else listen(stream);
    } catch {
      socket.destroy();
    }
  };
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    void accept(socket);
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const router = createMemoryRouter({ hub }, { peerId: 'hostile', address });
  await router.start(AbortSignal.timeout(5000));
  await router.advertise([{ key: digestKey(digestOfLarge()) }], AbortSignal.timeout(5000));
  return digestOfLarge();
}

function digestOfLarge(): Digest {
  return `sha256:${createHash('sha256').update(LARGE).digest('hex')}` as Digest;
}

function refuse(socket: Duplex, status: number): void {
  socket.write(`HTTP/1.1 ${status} No\r\nContent-Length: 2\r\n\r\n{}`);
}

function reset(socket: Duplex): void {
  if (socket instanceof net.Socket) socket.resetAndDestroy();
  else socket.destroy();
}

async function until(t: TestContext, isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await delay(5, undefined, { signal: t.signal });
}

async function counted(mirror: { readonly metrics: import('prom-client').Registry }, name: string): Promise<number> {
  const metric = await mirror.metrics.getSingleMetric(name)?.get();
  return metric?.values[0]?.value ?? 0;
}
