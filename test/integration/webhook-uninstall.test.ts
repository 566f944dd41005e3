/** `miroir uninstall` beside a webhook that runs on: a real apiserver, pods that wait, nodes that are labelled. */
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { startChildProgram } from '../lab/cluster/child-program.ts';
import { run, until } from '../lab/namespace.ts';
import { MIROIR } from '../lab/node-mirror.ts';
import { createMirrors, labels, readMetric, readNodes, stays } from './gate-nodes.ts';
import { createWebhookCluster, HEALTH_PORT, NAMESPACE, TEAM } from './webhook-cluster.ts';
import { withhold } from './webhook-rights.ts';

const PATIENCE_MS = 60_000;
const QUIET_MS = 2_000;
const OURS = 'miroir.dev/mirror-ready';
const THEIRS = 'example.com/quota';

test('an uninstall lets pods go and leaves nothing on nodes, while the webhook still runs', async (t) => {
  const cluster = await createWebhookCluster(t);
  const { plane } = cluster;
  const { call } = plane;
  const patience = AbortSignal.any([t.signal, AbortSignal.timeout(2 * PATIENCE_MS)]);
  const before = { labels: { 'miroir.dev/containerd': 'incompatible' } };
  await call('POST', '/api/v1/nodes', { metadata: { name: 'by-hand', ...before } });
  await call('POST', '/api/v1/nodes', { metadata: { name: 'bad', labels: { zone: 'a' } } });
  await call('POST', '/api/v1/nodes', { metadata: { name: 'mute' } });
  const mirrors = await createMirrors(t, call, NAMESPACE);
  await mirrors.add('bad', 'incompatible');
  await mirrors.add('mute', 'silent');
  const flags = ['--verdict-interval=300ms', `--mirror-health-port=${mirrors.port}`];
  await cluster.startWebhook(0, flags);
  const command = [...MIROIR, 'uninstall', `--kubeconfig=${cluster.kubeconfig}`, `--namespace=${NAMESPACE}`];
  const uninstall = async (...more: string[]) => {
    const shell = ['sh', '-c', '"$@"; echo "exit $?"', 'sh', ...command, ...more];
    return (await run(shell, {}, patience)).stdout;
  };
  const pod = (name: string, mode: string) => ({
    metadata: { name, annotations: { 'miroir.dev/gate': mode } },
    spec: { containers: [{ name: 'app', image: 'app' }], schedulingGates: [{ name: THEIRS }] },
  });
  const gates = async (name: string) => {
    const { body } = await call('GET', `/api/v1/namespaces/${TEAM}/pods/${name}`);
    return (body.spec.schedulingGates as { readonly name: string }[]).map((gate) => gate.name);
  };
  const canWait = async () =>
    (await cluster.createPod(pod('asks', 'wait'), { query: '?dryRun=All' })).warnings.length === 0;
  await until(canWait, patience);
  await until(async () => (await labels(call)) === 'bad=incompatible by-hand=incompatible mute=-', patience);
  await until(async () => JSON.stringify((await readNodes(call)).get('mute')).includes('MirrorSilent'), patience);
  const names = Array.from({ length: 20 }, (_, index) => `waits-${index}`);
  for (const name of names) await cluster.createPod(pod(name, 'wait'));
  assert.deepEqual(await gates('waits-0'), [THEIRS, OURS]);

  await t.test('an apiserver that is away makes it late, and no more', async () => {
    await plane.stopApiserver('SIGKILL');
    const late = startChildProgram(command, path.join(plane.folder, 'uninstall.log'));
    t.after(() => late.stop('SIGKILL'));
    await until(async () => late.logTail().includes('it is asked again'), patience);

    await plane.startApiserver(patience);

    await until(
      async () => !late.isRunning(),
      patience,
      () => late.logTail(),
    );
    assert.match(late.logTail(), /Nothing of the webhook is left on pods and nodes.*"pods":20,"nodes":2/);
  });

  await t.test('pods have the gates of others alone, and nodes what they had', async () => {
    for (const name of names) assert.deepEqual(await gates(name), [THEIRS]);
    const isClean = async () => {
      const nodes = await readNodes(call);
      const texts = ['bad', 'mute'].map((name) => {
        const { metadata, status } = nodes.get(name) ?? assert.fail(name);
        return JSON.stringify({ ...metadata, managedFields: [], conditions: status.conditions });
      });
      return texts.every((text) => !/miroir/i.test(text)) && nodes.get('bad')?.metadata.labels?.['zone'] === 'a';
    };
    assert.ok(await isClean());
    assert.equal(await labels(call), 'bad=- by-hand=incompatible mute=-');
    assert.equal(await readMetric(`${plane.address}:${HEALTH_PORT}`, 'miroir_webhook_leader'), 0);
    await stays(isClean, QUIET_MS, patience);
  });

  await t.test('new pods are not held back', async () => {
    const { status, body } = await cluster.createPod(pod('new', 'wait'));

    assert.equal(status, 201);
    assert.deepEqual(await gates('new'), [THEIRS]);
    assert.equal(body.metadata.annotations['miroir.dev/gate-applied'], undefined);
  });

  await t.test('run twice it does nothing, and names pods that nobody can help', async () => {
    const { metadata, spec } = pod('strict', 'require');
    const annotations = { ...metadata.annotations, 'miroir.dev/gate-applied': 'require' };
    await cluster.createPod({ metadata: { ...metadata, annotations }, spec });

    const said = await uninstall();

    assert.match(said, /"pods":0,"nodes":0/);
    assert.match(said, /requires a compatible node.*"pod":"strict"/);
    assert.match(said, /exit 0\n$/);
  });

  await t.test('what is not done in time, or refused, is said', async () => {
    await withhold(plane, 'pods', 'list');

    const [late, refused] = await Promise.all([uninstall('--timeout=1s'), uninstall()]);

    assert.match(late, /Not everything could be taken away.*\nexit 1\n$/);
    assert.match(refused, /Not everything could be taken away.*403.*\nexit 1\n$/);
  });
});
