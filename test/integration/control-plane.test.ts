/** The lab's control plane: a real etcd, apiserver, scheduler and controller-manager. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { addNode } from '../lab/cluster/add-node.ts';
import { createControlPlane } from '../lab/cluster/control-plane.ts';
import { until } from '../lab/namespace.ts';
import { identifyProcess, isAlive, type ProcessId } from '../lab/process-id.ts';

const POD = { metadata: { name: 'app' }, spec: { containers: [{ name: 'app', image: 'registry.example/app:v1' }] } };
/** Several times what it takes here, for a machine that does something else besides. */
const PATIENCE_MS = 60_000;

test('an apiserver answers, and what it answered is in its audit log', async (t) => {
  const plane = await createControlPlane({}, t.signal);
  t.after(() => plane.down());

  const { status } = await plane.call('POST', '/api/v1/namespaces/default/pods', POD);

  assert.equal(status, 201);
  const created = plane.audit().find(({ objectRef, verb }) => verb === 'create' && objectRef?.resource === 'pods');
  assert.equal(created?.responseStatus?.code, 201);
});

test('what it knew outlives a killed apiserver', async (t) => {
  const plane = await createControlPlane({}, t.signal);
  t.after(() => plane.down());
  await plane.call('POST', '/api/v1/namespaces/default/pods', POD);

  await plane.stopApiserver('SIGKILL');
  await assert.rejects(plane.call('GET', '/api/v1/namespaces/default/pods/app'));
  await plane.startApiserver(t.signal);

  const { body } = await plane.call('GET', '/api/v1/namespaces/default/pods/app');
  assert.equal(body.metadata.name, 'app');
});

test('the pods of a Deployment are made, and bound to the node that their affinity asks for', async (t) => {
  const plane = await createControlPlane({ scheduler: true, controllerManager: true }, t.signal);
  t.after(() => plane.down());
  const patience = AbortSignal.any([t.signal, AbortSignal.timeout(PATIENCE_MS)]);
  await addNode(plane.call, 'n1', { disk: 'slow' }, patience);
  await addNode(plane.call, 'n2', { disk: 'fast' }, patience);

  const labels = { app: 'app' };
  await plane.call('POST', '/apis/apps/v1/namespaces/default/deployments', {
    metadata: { name: 'app' },
    spec: {
      replicas: 3,
      selector: { matchLabels: labels },
      template: { metadata: { labels }, spec: { ...POD.spec, nodeSelector: { disk: 'fast' } } },
    },
  });

  const nodes = async () => {
    const { body } = await plane.call('GET', '/api/v1/namespaces/default/pods');
    return body.items.map(({ spec }: { spec: { nodeName?: string } }) => spec.nodeName);
  };
  await until(async () => (await nodes()).filter(Boolean).length === 3, patience);
  assert.deepEqual(await nodes(), ['n2', 'n2', 'n2']);
});

test('nothing is left of it: not when it is taken down, and no process when its own was killed', async (t) => {
  const plane = await createControlPlane({}, t.signal);
  const own = identifyProcess(plane.apiserver().pid() as number) as ProcessId;
  await plane.down();
  assert.equal(isAlive(own), false);
  assert.equal(fs.existsSync(plane.folder), false);

  const module = path.join(import.meta.dirname, '..', 'lab', 'cluster', 'control-plane.ts');
  const script = `
    const { createControlPlane } = await import(${JSON.stringify(module)});
    const plane = await createControlPlane({}, new AbortController().signal);
    console.log(plane.apiserver().pid());
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(child.stdout, 'data')) as [Buffer];
  const orphan = identifyProcess(Number(line.toString())) as ProcessId;
  assert.ok(isAlive(orphan));
  child.kill('SIGKILL');

  await until(() => !isAlive(orphan), AbortSignal.timeout(PATIENCE_MS));
  const next = await createControlPlane({}, t.signal);
  t.after(() => next.down());
  const left = fs.readdirSync(path.dirname(next.folder)).filter((name) => name.startsWith(`${child.pid}-`));
  assert.deepEqual(left, []);
});
