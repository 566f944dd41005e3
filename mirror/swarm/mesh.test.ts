import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { parseSwarmKeys } from '../../certs/swarm-key.ts';
import { silentLogger } from '../../common/log.ts';
import { createTestMembers } from '../../test/conformance/libp2p-fixture.ts';
import { until } from '../../test/lab/namespace.ts';
import { createKeyGate } from './key-gate.ts';
import { createMesh } from './mesh.ts';
import { createNode, listeningPort, startNode, toMultiaddr } from './node.ts';
import { formatFrame } from './wire.ts';

const ANY_PORT = { host: '127.0.0.1', port: 0 };
const PROTOCOL = '/miroir/swarm/1';
const KEYS = parseSwarmKeys('01'.repeat(32));
const DEADLINE_MS = 20_000;

async function startLibp2p(t: TestContext) {
  const gate = createKeyGate({ onRefused: () => {} }, { keys: KEYS });
  const node = await createNode(gate, { listen: ANY_PORT, services: {} });
  t.after(() => node.stop());
  return node;
}

/** A mesh, and somebody with the key who does as it likes. */
async function start(t: TestContext) {
  const other = await startLibp2p(t);
  await startNode(other, ANY_PORT);
  // Of two sessions, the mesh is not the one who decides.
  let node = await startLibp2p(t);
  while (node.peerId.toString() < other.peerId.toString()) node = await startLibp2p(t);
  const named = createTestMembers();
  const known = Promise.withResolvers<void>();
  const members = {
    ...named,
    known: known.resolve,
    async *watch(signal: AbortSignal) {
      await known.promise;
      yield* named.watch(signal);
    },
  };
  let dialCount = 0;
  const dial = node.dial.bind(node);
  node.dial = (...asked: Parameters<typeof dial>) => {
    dialCount += 1;
    return dial(...asked);
  };
  const mesh = createMesh(
    {
      log: silentLogger,
      metrics: { dropped: () => {} } as never,
      node,
      members,
      random: () => 0,
      onSession: () => {},
      onMembers: () => {},
      onGone: () => {},
      onRequest: () => undefined,
    },
    { listen: ANY_PORT, advertiseHost: undefined, peerPort: 1 },
  );
  await mesh.start();
  t.after(() => mesh.stop());
  /** Four sessions that say that they are reached at this port. */
  const openSessions = async (swarmPort: number) => {
    const hello = formatFrame({ type: 'hello', peerPort: 9, swarmPort });
    await other.handle(PROTOCOL, (stream) => void stream.send(hello), { force: true });
    for (let count = 0; count < 4; count += 1) {
      const connection = await other.dial(toMultiaddr({ host: ANY_PORT.host, port: mesh.port }), { force: true });
      const stream = await connection.newStream(PROTOCOL);
      stream.addEventListener('message', () => {});
      stream.send(hello);
    }
    await until(() => mesh.members().length === 1, AbortSignal.timeout(DEADLINE_MS));
  };
  return { node, other, members, mesh, openSessions, dials: () => dialCount };
}

test('a member that does not speak the protocol is left at once, each time that it is dialed', async (t) => {
  const { node, other, members, dials } = await start(t);
  members.add({ host: ANY_PORT.host, port: listeningPort(other) });
  members.known();

  await until(() => dials() >= 3, AbortSignal.timeout(DEADLINE_MS));

  assert.ok(node.getConnections().length <= 1, `${node.getConnections().length} connections`);
});

test('a member that has sessions enough is no reason not to be ready', async (t) => {
  const { other, members, mesh, openSessions } = await start(t);
  await openSessions(9);

  members.add({ host: ANY_PORT.host, port: listeningPort(other) });
  members.known();

  await until(() => mesh.isReady(), AbortSignal.timeout(DEADLINE_MS));
});

test('all sessions with a member that is removed are ended', async (t) => {
  const { node, members, mesh, openSessions } = await start(t);
  members.add({ host: ANY_PORT.host, port: 9 });
  members.known();
  await openSessions(9);

  members.remove({ host: ANY_PORT.host, port: 9 });

  // Sooner than what is silent is given up.
  await until(() => node.getConnections().length === 0, AbortSignal.timeout(4_000));
  assert.deepEqual(mesh.members(), []);
});
