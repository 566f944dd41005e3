/** Pods of mode `wait`: real ones, held back by a real apiserver, let go by the replica that leads. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { until } from '../lab/namespace.ts';
import { createMirrors, labels, readMetric } from './gate-nodes.ts';
import { createWebhookCluster, HEALTH_PORT, NAMESPACE, TEAM } from './webhook-cluster.ts';
import { withhold } from './webhook-rights.ts';

const PATIENCE_MS = 60_000;
const TIMEOUT_MS = 3_000;
const OURS = { name: 'miroir.dev/mirror-ready' };
const THEIRS = { name: 'example.com/quota' };

function waiting(name: string) {
  return {
    metadata: { name, annotations: { 'miroir.dev/gate': 'wait' } },
    spec: { containers: [{ name: 'app', image: 'registry.example/app:v1' }], schedulingGates: [THEIRS] },
  };
}

test('a pod waits for a node with a mirror, not for ever, and only where somebody can end it', async (t) => {
  const cluster = await createWebhookCluster(t);
  const { plane } = cluster;
  const { call } = plane;
  const patience = AbortSignal.any([t.signal, AbortSignal.timeout(2 * PATIENCE_MS)]);
  await call('POST', '/api/v1/nodes', { metadata: { name: 'n1' } });
  const mirrors = await createMirrors(t, call, NAMESPACE);
  const mirror = await mirrors.add('n1', 'silent');
  const flags = ['--verdict-interval=300ms', `--wait-timeout=${TIMEOUT_MS}ms`, `--mirror-health-port=${mirrors.port}`];
  const first = await cluster.startWebhook(0, flags);
  const metric = (series: string) => readMetric(`${plane.address}:${HEALTH_PORT}`, series);
  const gates = async (name: string) =>
    (await call('GET', `/api/v1/namespaces/${TEAM}/pods/${name}`)).body.spec.schedulingGates;
  const isLetGo = (name: string) => until(async () => (await gates(name)).length === 1, patience);
  /** Whether a pod would be held back now. */
  const gateApplied = async () => {
    const { body, warnings } = await cluster.createPod(waiting('asks'), { query: '?dryRun=All' });
    return { gate: body.metadata.annotations['miroir.dev/gate-applied'], warnings };
  };
  await until(async () => (await gateApplied()).gate === 'wait', patience);

  await t.test('it is held back, and let go when it was enough; the gates of others stay', async () => {
    const { body } = await cluster.createPod(waiting('patient'));
    assert.deepEqual(body.spec.schedulingGates, [THEIRS, OURS]);
    const startedAt = performance.now();

    await isLetGo('patient');

    assert.deepEqual(await gates('patient'), [THEIRS]);
    assert.ok(performance.now() - startedAt > TIMEOUT_MS / 2, 'it did not wait');
    assert.equal(await metric('miroir_gate_lifted_total{reason="timeout"}'), 1);
    const events = `/api/v1/namespaces/${TEAM}/events?fieldSelector=involvedObject.name=patient`;
    await until(async () => (await call('GET', events)).body.items[0]?.reason === 'timeout', patience);
  });

  await t.test('it is let go when a node is ready', async () => {
    mirror.say('compatible');
    await until(async () => (await labels(call)) === 'n1=compatible', patience);

    await cluster.createPod(waiting('lucky'));
    await isLetGo('lucky');

    assert.equal(await metric('miroir_gate_lifted_total{reason="ready"}'), 1);
  });

  await t.test('a pod that nobody is left to let go is let go by the next replica', async () => {
    mirror.say('silent');
    await until(async () => (await metric('miroir_gate_looks_total{verdict="silent"}')) !== undefined, patience);
    const before = (await metric('miroir_gate_looks_total{verdict="silent"}')) as number;
    await until(async () => ((await metric('miroir_gate_looks_total{verdict="silent"}')) as number) > before, patience);
    await cluster.createPod(waiting('orphan'));
    await first.stop('SIGKILL');
    assert.equal((await gates('orphan')).length, 2);

    await cluster.startWebhook(0, flags);

    await isLetGo('orphan');
  });

  await t.test('without the right to let pods go nobody waits', async () => {
    await withhold(plane, 'pods', 'patch');

    await until(async () => (await gateApplied()).gate === 'bypassed', patience);

    const { warnings } = await gateApplied();
    assert.deepEqual(warnings, [
      'miroir: gate mode wait is bypassed, since nobody could end the wait: the pod only prefers compatible nodes',
    ]);
  });
});
