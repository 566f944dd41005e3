import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Registry } from 'prom-client';
import { parseSwarmKeys, type SwarmKey } from '../../certs/swarm-key.ts';
import { silentLogger } from '../../common/log.ts';
import { createTestMembers, type TestMembers } from '../../test/conformance/libp2p-fixture.ts';
import { createKeyGate } from './key-gate.ts';
import type { Libp2pRouter } from './libp2p-router.ts';
import type { DropReason } from './metrics.ts';
import { createNode, toMultiaddr } from './node.ts';
import { createOneHopRouter } from './one-hop.ts';
import type { Key, Provider } from './router.ts';
import { createFrameParser, type Frame, formatFrame, hashKey, type KeyHash } from './wire.ts';

const LOCALHOST = '127.0.0.1';
const [ONE, TWO] = parseSwarmKeys(`${'01'.repeat(32)}\n${'02'.repeat(32)}`) as [SwarmKey, SwarmKey];
const KEY = 'registry.test/app:1' as Key;
const never = new AbortController().signal;

interface TestNode {
  readonly router: Libp2pRouter;
  readonly registry: Registry;
}

interface StartOptions {
  readonly members?: TestMembers;
  readonly keys?: readonly SwarmKey[];
  readonly advertiseHost?: string;
}

async function startNode(t: TestContext, options: StartOptions = {}): Promise<TestNode> {
  const { members = createTestMembers(), keys = [ONE], advertiseHost } = options;
  const registry = new Registry();
  const deps = { log: silentLogger, registry, members, now: Date.now, random: Math.random };
  const listen = { host: LOCALHOST, port: 0 };
  const router = createOneHopRouter(deps, { listen, advertiseHost, peerPort: 29_982, keys });
  t.after(() => router.stop());
  await router.start(never);
  return { router, registry };
}

async function dropped(node: TestNode, reason: DropReason): Promise<number> {
  const metric = await node.registry.getSingleMetric('miroir_swarm_peers_dropped_total')?.get();
  return metric?.values.find(({ labels }) => labels['reason'] === reason)?.value ?? 0;
}

async function gauge(node: TestNode, name: string): Promise<number | undefined> {
  return (await node.registry.getSingleMetric(name)?.get())?.values[0]?.value;
}

async function find(node: TestNode, key: Key): Promise<Provider[]> {
  return Array.fromAsync(node.router.lookup(key, { limit: 10 }, never));
}

async function eventually(assertions: () => Promise<void> | void): Promise<void> {
  const deadline = performance.now() + 10_000;
  for (;;) {
    try {
      return await assertions();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await delay(5);
    }
  }
}

/** Speaks the protocol by hand. Tells what came back, and when the connection is closed. */
async function connectByHand(t: TestContext, node: TestNode, answer?: (frame: Frame) => Frame | undefined) {
  const gate = createKeyGate({ onRefused: () => {} }, { keys: [ONE] });
  const libp2p = await createNode(gate, { listen: { host: LOCALHOST, port: 0 }, services: {} });
  t.after(() => libp2p.stop());
  await libp2p.start();
  const connection = await libp2p.dial(toMultiaddr({ host: LOCALHOST, port: node.router.swarmPort }));
  const stream = await connection.newStream('/miroir/swarm/1');
  const closed = once(connection, 'close', { signal: AbortSignal.timeout(10_000) });
  const parser = createFrameParser();
  const heard: Frame[] = [];
  stream.addEventListener('message', ({ data }) => {
    for (const frame of parser.push(data.subarray())) {
      heard.push(frame);
      const answered = answer?.(frame);
      if (answered !== undefined) stream.send(formatFrame(answered));
    }
  });
  return {
    libp2p,
    closed,
    heard,
    send: (...frames: Frame[]) => stream.send(Buffer.concat(frames.map(formatFrame))),
    sendBytes: (bytes: Uint8Array) => stream.send(bytes),
  };
}

const HELLO: Frame = { type: 'hello', peerPort: 29_982, swarmPort: 29_983 };
const ZERO_KEY = '\0'.repeat(32) as KeyHash;
const AN_AGE = { digest: `sha256:${'0'.repeat(64)}` as never, ageMs: 0 };

test('a stranger gets no byte, is closed at once, and is counted', async (t) => {
  const node = await startNode(t);
  const socket = net.connect(node.router.swarmPort, LOCALHOST);
  t.after(() => socket.destroy());
  socket.on('error', () => {}); // It may be reset.
  const closed = new Promise((resolve) => socket.on('close', resolve));
  let received = 0;
  socket.on('data', (chunk) => {
    received += chunk.length;
  });

  socket.write(randomBytes(48));

  await closed;
  assert.equal(received, 0);
  assert.equal(await dropped(node, 'key'), 1);
});

test('a token that was listened to lets nobody through the handshake', async (t) => {
  // A member is led to dial an eavesdropper, which then uses the member's own first bytes at another.
  const heard = Promise.withResolvers<Buffer>();
  const eavesdropper = net.createServer((socket) => socket.on('error', () => {}).once('data', heard.resolve));
  t.after(() => eavesdropper.close());
  eavesdropper.listen(0, LOCALHOST);
  await once(eavesdropper, 'listening');
  const { port } = eavesdropper.address() as AddressInfo;
  const node = await startNode(t);
  await startNode(t, { members: createTestMembers([{ host: LOCALHOST, port }]) });
  const bytes = await heard.promise;

  const gate = createKeyGate({ onRefused: () => {} }, { keys: [TWO] });
  const thief = await createNode(
    {
      protector: () => ({
        protect: async (stream) => {
          const genuine = stream.send.bind(stream);
          stream.send = () => {
            stream.send = genuine;
            return genuine(bytes.subarray(0, 48));
          };
          return gate.protector().protect(stream);
        },
      }),
      encrypter: gate.encrypter,
    },
    { listen: { host: LOCALHOST, port: 0 }, services: {} },
  );
  t.after(() => thief.stop());
  await thief.start();

  await assert.rejects(thief.dial(toMultiaddr({ host: LOCALHOST, port: node.router.swarmPort })));
  assert.equal(await dropped(node, 'key'), 0, 'the token itself is genuine');
  assert.deepEqual(node.router.members(), []);
});

test('a key passes through the swarm node by node, and nobody is parted on the way', async (t) => {
  for (const [before, after] of [
    [[ONE], [ONE, TWO]],
    [
      [ONE, TWO],
      [TWO, ONE],
    ],
    [[TWO, ONE], [TWO]],
  ] as const) {
    const members = createTestMembers();
    const old = await startNode(t, { members, keys: before });
    const renewed = await startNode(t, { members, keys: after });

    // Either dials the other: what one of them sends, the other accepts.
    for (const [dialer, listener] of [
      [old, renewed],
      [renewed, old],
    ] as const) {
      members.add({ host: LOCALHOST, port: listener.router.swarmPort });
      await eventually(() => assert.equal(dialer.router.members().length, 1));
      members.remove({ host: LOCALHOST, port: listener.router.swarmPort });
      await eventually(() => assert.equal(dialer.router.members().length, 0));
    }
  }
});

for (const { title, reason, attack } of [
  { title: 'bytes that are no frame', reason: 'frame', attack: [Buffer.from('GET / HTTP/1.1\r\n\r\n')] },
  { title: 'a frame of an unknown version', reason: 'frame', attack: [Buffer.from([0, 0, 0, 6, 9, 1, 0, 0, 0, 0])] },
  {
    title: 'a request before the hello',
    reason: 'frame',
    attack: [formatFrame({ type: 'get', id: 1, limit: 1, keys: [ZERO_KEY] })],
  },
  { title: 'a second hello', reason: 'frame', attack: [formatFrame(HELLO), formatFrame(HELLO)] },
  { title: 'a flood of requests', reason: 'flood', attack: [formatFrame(HELLO), ...flood()] },
] as const) {
  test(`${title}: the member is dropped and counted`, async (t) => {
    const node = await startNode(t);
    const hostile = await connectByHand(t, node);

    for (const bytes of attack) hostile.sendBytes(bytes);

    await hostile.closed;
    assert.equal(await dropped(node, reason), 1);
    assert.deepEqual(node.router.members(), []);
  });
}

function flood(): Uint8Array[] {
  const entries = Array.from({ length: 1_000 }, () => ({ key: ZERO_KEY }));
  return Array.from({ length: 150 }, (_, id) => formatFrame({ type: 'add', id, entries }));
}

test('a member that broke the rules is not let in again at once', async (t) => {
  const node = await startNode(t);
  const hostile = await connectByHand(t, node);
  hostile.send(HELLO, HELLO);
  await hostile.closed;

  const connection = await hostile.libp2p.dial(toMultiaddr({ host: LOCALHOST, port: node.router.swarmPort }));
  const stream = await connection.newStream('/miroir/swarm/1');
  stream.send(formatFrame(HELLO));

  await once(connection, 'close', { signal: AbortSignal.timeout(5_000) });
  assert.deepEqual(node.router.members(), []);
});

test('records of a member are found at its address, and go when it does', async (t) => {
  const node = await startNode(t);
  const other = await connectByHand(t, node);

  other.send(HELLO, { type: 'add', id: 1, entries: [{ key: hashKey(KEY), tag: AN_AGE }] });
  await eventually(async () => assert.equal((await find(node, KEY))[0]?.address, `${LOCALHOST}:29982`));

  await other.libp2p.stop();
  await eventually(async () => assert.deepEqual(await find(node, KEY), []));
  assert.equal(await gauge(node, 'miroir_swarm_records'), 0);
});

test('records are taken from a member that keeps none once there are too many, and given back, though nobody came or went', async (t) => {
  // None of them is there.
  const others = Array.from({ length: 128 }, (_, index) => ({ host: `127.1.0.${index + 1}`, port: 9 }));
  const oneMore = { host: '127.1.1.1', port: 10 };
  const members = createTestMembers(others);
  const node = await startNode(t, { members });
  await node.router.advertise([{ key: KEY }], never);
  const unlisted = await connectByHand(t, node);
  const given = () => unlisted.heard.map(({ type }) => type).filter((type) => type === 'add' || type === 'remove');
  unlisted.send(HELLO);
  await eventually(() => assert.deepEqual(given(), ['add']));

  members.add(oneMore);
  await eventually(() => assert.deepEqual(given(), ['add', 'remove']));
  assert.equal(await gauge(node, 'miroir_swarm_members'), 1, 'it is a member all the same');

  members.remove(oneMore);
  await eventually(() => assert.deepEqual(given(), ['add', 'remove', 'add']));
});

test('a member says where it is reached, when it is told so', async (t) => {
  const members = createTestMembers();
  const holder = await startNode(t, { members, advertiseHost: 'node-7.example' });
  const asker = await startNode(t, { members });
  members.add({ host: LOCALHOST, port: holder.router.swarmPort });
  await holder.router.advertise([{ key: KEY }], never);

  await eventually(async () => assert.equal((await find(asker, KEY))[0]?.address, 'node-7.example:29982'));
});

test('a member that is removed from the source is let go, not found, and not let in again', async (t) => {
  const all = createTestMembers();
  const ours = createTestMembers();
  const removed = await startNode(t, { members: all });
  const node = await startNode(t, { members: ours });
  const addressOf = ({ router }: TestNode) => ({ host: LOCALHOST, port: router.swarmPort });
  ours.add(addressOf(removed));
  await removed.router.advertise([{ key: KEY }], never);
  await eventually(async () => assert.equal((await find(node, KEY)).length, 1));

  ours.remove(addressOf(removed));
  assert.deepEqual(await find(node, KEY), []);

  // It still lists us, and dials.
  all.add(addressOf(node));
  await eventually(async () => assert.ok((await dropped(node, 'removed')) >= 2));
  assert.deepEqual(await find(node, KEY), []);
  assert.deepEqual(node.router.members(), []);

  ours.add(addressOf(removed));
  await eventually(async () => assert.equal((await find(node, KEY)).length, 1));
});

test('whoever was removed is neither found nor followed, though another member names it', async (t) => {
  const members = createTestMembers();
  const [removed, node] = [await startNode(t), await startNode(t, { members })];
  const address = { host: LOCALHOST, port: removed.router.swarmPort };
  members.add(address);
  await eventually(() => assert.equal(node.router.members().length, 1));
  const [peer] = node.router.members();
  members.remove(address);
  await eventually(() => assert.deepEqual(node.router.members(), []));
  assert.ok(peer);

  const providers = [{ peer }, {}]; // The latter is who answers.
  const other = await connectByHand(t, node, (frame) => {
    if (frame.type === 'claim') return { type: 'claimed', id: frame.id, role: 'follow', providers };
    if (frame.type !== 'get') return undefined;
    return { type: 'found', id: frame.id, providers: frame.keys.map(() => providers) };
  });
  const welcome = [other.libp2p.peerId.toString()];
  other.send(HELLO);
  await eventually(() => assert.equal(node.router.members().length, 1));

  const named = ({ peerId }: Provider) => peerId;
  assert.deepEqual((await find(node, KEY)).map(named), welcome);
  // Of as many keys, the claims on some are the other's to answer.
  const keys = Array.from({ length: 32 }, (_, index) => `${KEY}-${index}` as Key);
  const claims = await Promise.all(keys.map((key) => node.router.claim(key, { offset: 0, patienceMs: 1_000 }, never)));
  const followed = claims.flatMap((claim) => ('providers' in claim ? [claim.providers.map(named)] : []));
  assert.notEqual(followed.length, 0);
  for (const peerIds of followed) assert.deepEqual(peerIds, welcome);
});

test('two that dial each other at once end up with one connection that works', async (t) => {
  for (let round = 0; round < 5; round += 1) {
    const members = createTestMembers();
    const nodes = [await startNode(t, { members }), await startNode(t, { members })] as const;
    for (const { router } of nodes) members.add({ host: LOCALHOST, port: router.swarmPort });

    const [a, b] = nodes;
    await a.router.advertise([{ key: KEY }], never);
    await eventually(async () => assert.equal((await find(b, KEY)).length, 1));
    await eventually(() => {
      for (const { router } of nodes) assert.equal(router.members().length, 1);
    });
  }
});

test('a node that is listed among its own members does not meet itself', async (t) => {
  const members = createTestMembers();
  const node = await startNode(t, { members });

  members.add({ host: LOCALHOST, port: node.router.swarmPort });

  await eventually(() => assert.ok(node.router.isReady()));
  assert.deepEqual(node.router.members(), []);
});

test('a member that is not there holds up the readiness for a moment only', async (t) => {
  const closed = net.createServer().listen(0, LOCALHOST);
  await once(closed, 'listening');
  const { port } = closed.address() as AddressInfo;
  closed.close();

  const node = await startNode(t, { members: createTestMembers([{ host: LOCALHOST, port }]) });

  await eventually(() => assert.ok(node.router.isReady()));
});

test('a port that is taken is said to be', async (t) => {
  const node = await startNode(t);
  const deps = {
    log: silentLogger,
    registry: new Registry(),
    members: createTestMembers(),
    now: Date.now,
    random: Math.random,
  };
  const listen = { host: LOCALHOST, port: node.router.swarmPort };
  const second = createOneHopRouter(deps, { listen, advertiseHost: undefined, peerPort: 29_982, keys: [ONE] });

  await assert.rejects(second.start(never), {
    code: 'ERR_LISTEN_FAILED',
    message: `cannot listen on ${LOCALHOST}:${listen.port} for the swarm: another program has this port`,
  });
});

test('while members come and go, a lookup comes before a claim', async (t) => {
  const members = createTestMembers();
  const [one, two] = [await startNode(t, { members }), await startNode(t, { members })];
  members.add({ host: LOCALHOST, port: one.router.swarmPort });
  await eventually(() => assert.equal(two.router.members().length, 1));

  assert.equal(two.router.mayClaimFirst(), false);
  await eventually(() => assert.equal(two.router.mayClaimFirst(), true));
});

test('a first question is counted as a lookup', async (t) => {
  const node = await startNode(t);

  await node.router.claim(KEY, { offset: 0, patienceMs: 1_000, isFirst: true }, never);
  await node.router.claim(KEY, { offset: 0, patienceMs: 1_000 }, never);

  const metric = await node.registry.getSingleMetric('miroir_swarm_lookup_seconds')?.get();
  const counts = metric?.values.filter(({ labels }) => labels['result'] === 'absent' && !('le' in labels));
  assert.ok(
    counts?.some(({ value }) => value === 1),
    JSON.stringify(counts),
  );
});
