/** Two replicas of `miroir webhook`, a real apiserver, and nodes whose mirrors say all that mirrors can say. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { until } from '../lab/namespace.ts';
import { createMirrors, labels, type NodeObject, readMetric, readNodes, stays } from './gate-nodes.ts';
import { createWebhookCluster, HEALTH_PORT, NAMESPACE } from './webhook-cluster.ts';

const PATIENCE_MS = 60_000;
const INTERVAL_MS = 300;

function condition(node: NodeObject | undefined) {
  const found = node?.status.conditions?.find(({ type }) => type === 'MiroirReady');
  return found && `${found.status} ${found.reason}`;
}

test('nodes are labelled by what their mirrors say, once for each change, whoever leads', async (t) => {
  const cluster = await createWebhookCluster(t);
  const { call } = cluster.plane;
  const patience = AbortSignal.any([t.signal, AbortSignal.timeout(2 * PATIENCE_MS)]);
  for (const name of ['bad', 'bare', 'good', 'mute', 'unsure'])
    await call('POST', '/api/v1/nodes', { metadata: { name } });
  const mirrors = await createMirrors(t, call, NAMESPACE);
  const good = await mirrors.add('good', 'compatible');
  const bad = await mirrors.add('bad', 'incompatible');
  await mirrors.add('mute', 'silent');
  await mirrors.add('unsure', 'unknown');
  const flags = [`--verdict-interval=${INTERVAL_MS}ms`, '--forget-after=3s', `--mirror-health-port=${mirrors.port}`];
  const replicas = [await cluster.startWebhook(0, flags), await cluster.startWebhook(1, flags)];
  const isSo = (expected: string) => until(async () => (await labels(call)) === expected, patience);
  const metric = (replica: number, series: string) =>
    readMetric(`${cluster.plane.address}:${HEALTH_PORT + replica}`, series);
  const leader = async () => ((await metric(0, 'miroir_webhook_leader')) === 1 ? 0 : 1);

  await t.test('the label, the condition and an Event say it', async () => {
    await isSo('bad=incompatible bare=- good=compatible mute=- unsure=-');
    await until(async () => condition((await readNodes(call)).get('mute')) !== undefined, patience);

    const nodes = await readNodes(call);
    const conditions = [...nodes.values()].map((node) => [node.metadata.name, condition(node)]);
    assert.deepEqual(Object.fromEntries(conditions), {
      bad: 'False ConfigPathEmpty',
      bare: undefined,
      good: 'True Compatible',
      mute: 'Unknown MirrorSilent',
      unsure: 'Unknown PathUnproven',
    });
    const { body } = await call('GET', '/api/v1/namespaces/default/events?fieldSelector=involvedObject.name=bad');
    const [event] = body.items;
    assert.equal(event?.reason, 'incompatible');
    assert.equal(event?.type, 'Warning');
    assert.equal(event?.message, 'incompatible config-path-empty: so it is. Fix: mend it');
  });

  await t.test('a write a node was enough, and none follows while nothing changes', async () => {
    const writes = async () => metric(await leader(), 'miroir_gate_node_writes_total');
    assert.equal(await writes(), 4);
    const versions = async () =>
      String([...(await readNodes(call)).values()].map(({ metadata }) => metadata.resourceVersion));
    const before = await versions();

    await stays(async () => (await versions()) === before, 5 * INTERVAL_MS, patience);

    assert.equal(await writes(), 4);
  });

  await t.test(
    'when the leader is killed the other one goes on, and a verdict that changed is one more write',
    async () => {
      const first = await leader();
      await replicas[first]?.stop('SIGKILL');
      bad.say('compatible');

      await isSo('bad=compatible bare=- good=compatible mute=- unsure=-');

      const other = 1 - first;
      assert.equal(await metric(other, 'miroir_webhook_leader'), 1);
      assert.equal(await metric(other, 'miroir_gate_node_writes_total'), 1);
    },
  );

  await t.test('a node that has had no mirror for long is left as if Miroir had never been there', async () => {
    await good.remove();

    await isSo('bad=compatible bare=- good=- mute=- unsure=-');

    const node = (await readNodes(call)).get('good');
    assert.equal(condition(node), undefined);
    assert.equal(node?.metadata.annotations, undefined);
  });
});
