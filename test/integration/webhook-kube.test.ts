/** Our client, lists and election, and a real apiserver that is killed, frozen and cut off. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { hasCode } from '../../common/errors.ts';
import { silentLogger } from '../../common/log.ts';
import { createKubeClient, type KubeClient } from '../../webhook/kube/client.ts';
import { createElector, type Elector } from '../../webhook/kube/elector.ts';
import { createReflector } from '../../webhook/kube/reflector.ts';
import { type ControlPlane, createControlPlane } from '../lab/cluster/control-plane.ts';
import { until } from '../lab/namespace.ts';

const PATIENCE_MS = 60_000;
const ELECTOR_TIMES = { leaseMs: 3000, deadlineMs: 2000, renewMs: 200 };

function patience(t: TestContext): AbortSignal {
  return AbortSignal.any([t.signal, AbortSignal.timeout(PATIENCE_MS)]);
}

async function startPlane(t: TestContext): Promise<ControlPlane> {
  const plane = await createControlPlane({}, t.signal);
  t.after(() => plane.down());
  return plane;
}

/** A client whose connections go through a place where they can be counted and cut. */
async function connect(t: TestContext, plane: ControlPlane): Promise<{ client: KubeClient; wire: Wire }> {
  const wire = await startWire(t, plane);
  const kubeconfig = path.join(plane.folder, `wire-${wire.port}.kubeconfig`);
  const { port } = new URL(plane.url);
  fs.writeFileSync(kubeconfig, fs.readFileSync(plane.kubeconfig, 'utf8').replace(`:${port}`, `:${wire.port}`));
  const client = createKubeClient({ kubeconfig });
  t.after(() => client.close());
  return { client, wire };
}

interface Wire {
  readonly port: number;
  /** Since the start. */
  connections(): number;
  cut(): void;
}

async function startWire(t: TestContext, plane: ControlPlane): Promise<Wire> {
  const target = new URL(plane.url);
  const open = new Set<net.Socket>();
  let count = 0;
  const server = net.createServer((near) => {
    count += 1;
    const far = net.connect({ host: target.hostname, port: Number(target.port) });
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      open.add(one);
      one.on('error', () => {});
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await once(server.listen(0, target.hostname), 'listening');
  const cut = () => {
    for (const socket of open) socket.destroy();
  };
  t.after(() => {
    server.close();
    cut();
  });
  return { port: (server.address() as net.AddressInfo).port, connections: () => count, cut };
}

async function createNamespace(plane: ControlPlane, name: string): Promise<void> {
  const { status } = await plane.call('POST', '/api/v1/namespaces', { metadata: { name, labels: { ours: 'yes' } } });
  assert.equal(status, 201);
}

function followNamespaces(t: TestContext, client: KubeClient, silenceMs?: number) {
  const reflector = createReflector<string>(
    { client, log: silentLogger, random: Math.random },
    {
      path: '/api/v1/namespaces',
      query: { labelSelector: 'ours=yes' },
      isMetadataOnly: true,
      project: ({ metadata }) => metadata.name,
      ...(silenceMs !== undefined && { silenceMs }),
    },
  );
  t.after(() => reflector.stop());
  const names = () => [...reflector.entries()].map(([name]) => name).toSorted();
  return {
    reflector,
    names,
    become: (...expected: string[]) => until(() => String(names()) === String(expected), patience(t)),
  };
}

test('a hundred calls, in a row and at once, share a few connections', async (t) => {
  const { client, wire } = await connect(t, await startPlane(t));
  const call = () => client.call({ path: '/api/v1/namespaces/default' }, t.signal);
  for (let index = 0; index < 50; index++) await call();
  assert.equal(wire.connections(), 1);

  await Promise.all(Array.from({ length: 50 }, call));

  assert.ok(wire.connections() <= 16, `${wire.connections()} connections`);
});

test('every way to be told no has its code', async (t) => {
  const plane = await startPlane(t);
  const { client } = await connect(t, plane);
  const namespaces = '/api/v1/namespaces';
  const body = { metadata: { name: 'default' } };
  const cases = {
    ERR_KUBE_NOT_FOUND: { path: `${namespaces}/nobody` },
    ERR_KUBE_CONFLICT: { method: 'POST', path: namespaces, body },
    ERR_KUBE_REFUSED: { method: 'POST', path: namespaces, body: { metadata: { name: 'Not a name' } } },
  } as const;
  for (const [code, request] of Object.entries(cases)) {
    await assert.rejects(client.call(request, t.signal), (error) => hasCode(error, code as keyof typeof cases));
  }
  const gone = { path: namespaces, query: { limit: '1', continue: 'nonsense' } };
  await assert.rejects(client.call(gone, t.signal), (error) => hasCode(error, 'ERR_KUBE_REFUSED'));

  await plane.stopApiserver('SIGKILL');

  const request = { path: namespaces };
  await assert.rejects(client.call(request, t.signal), (error) => hasCode(error, 'ERR_KUBE_UNAVAILABLE'));
});

test('a followed list is right again after the apiserver was killed, whatever happened meanwhile', async (t) => {
  const plane = await startPlane(t);
  const { client } = await connect(t, plane);
  await createNamespace(plane, 'one');
  const { reflector, become } = followNamespaces(t, client);
  await reflector.start(t.signal);
  await become('one');
  await createNamespace(plane, 'two');
  await become('one', 'two');

  await plane.stopApiserver('SIGKILL');
  await plane.startApiserver(t.signal);
  await createNamespace(plane, 'three');

  await become('one', 'three', 'two');
});

test('a followed list goes on when its connections are cut', async (t) => {
  const plane = await startPlane(t);
  const { client, wire } = await connect(t, plane);
  const { reflector, become } = followNamespaces(t, client);
  await reflector.start(t.signal);
  await until(() => reflector.isSynced(), patience(t));

  for (const name of ['a', 'b', 'c']) {
    wire.cut();
    await createNamespace(plane, name);
  }

  await become('a', 'b', 'c');
});

test('a followed list notices that an apiserver hangs, and goes on when it is back', async (t) => {
  const plane = await startPlane(t);
  const { client, wire } = await connect(t, plane);
  const { reflector, become } = followNamespaces(t, client, 1000);
  await reflector.start(t.signal);
  await until(() => reflector.isSynced(), patience(t));
  const pid = plane.apiserver().pid() as number;

  const connections = wire.connections();
  process.kill(pid, 'SIGSTOP');
  await until(() => wire.connections() > connections, patience(t)); // It has given up the one that is silent.
  process.kill(pid, 'SIGCONT');
  await createNamespace(plane, 'after');

  await become('after');
});

/** Electors of one Lease, and how many led at a time at most. */
async function startElectors(t: TestContext, plane: ControlPlane, count: number) {
  let leading = 0;
  const most = { atOnce: 0 };
  const { client } = await connect(t, plane);
  const electors = Array.from({ length: count }, (_, index) =>
    createElector(
      {
        client,
        log: silentLogger,
        lead: async (signal) => {
          leading += 1;
          most.atOnce = Math.max(most.atOnce, leading);
          await once(signal, 'abort');
          leading -= 1;
        },
      },
      { namespace: 'default', name: 'miroir', identity: `replica-${index}`, times: ELECTOR_TIMES },
    ),
  );
  for (const elector of electors) {
    await elector.start(t.signal);
    t.after(() => elector.stop());
  }
  const leader = async (among: readonly Elector[] = electors) => {
    await until(() => among.some((elector) => elector.isLeader()), patience(t));
    return among.find((elector) => elector.isLeader()) as Elector;
  };
  return { electors, leader, most };
}

test('one of three replicas leads, and when it stops another one does at once', async (t) => {
  const { electors, leader, most } = await startElectors(t, await startPlane(t), 3);
  const first = await leader();

  const startedAt = performance.now();
  await first.stop();
  const second = await leader(electors.filter((elector) => elector !== first));

  assert.ok(performance.now() - startedAt < ELECTOR_TIMES.leaseMs, 'it waited for a lease that was given back');
  assert.notEqual(first, second);
  assert.equal(most.atOnce, 1);
});

test('who cannot renew leads no more, and when the apiserver is back there is one leader again', async (t) => {
  const plane = await startPlane(t);
  const { electors, leader, most } = await startElectors(t, plane, 2);
  await leader();

  const stoppedAt = performance.now();
  await plane.stopApiserver('SIGKILL');
  await until(() => electors.every((elector) => !elector.isLeader()), patience(t));
  assert.ok(performance.now() - stoppedAt < ELECTOR_TIMES.leaseMs, 'somebody else could have led by then');
  await plane.startApiserver(t.signal);
  await leader();

  assert.equal(most.atOnce, 1);
});
