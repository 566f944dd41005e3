/** All that a webhook can do wrong to who asks it, while pods are created: none is rejected, and those that are missed are counted. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import https from 'node:https';
import test, { type TestContext } from 'node:test';
import { createAuthority, issueLeaf } from '../../certs/authority.ts';
import { until } from '../lab/namespace.ts';
import { readMetric } from './gate-nodes.ts';
import {
  createWebhookCluster,
  HEALTH_PORT,
  NAMESPACE,
  SERVICE,
  TEAM,
  validity,
  WEBHOOK_PORT,
  type WebhookCluster,
} from './webhook-cluster.ts';

const PATIENCE_MS = 120_000;
/** Of 500 in all. */
const EACH_FAULT = 84;
const FAULTS = 6;
/** For a node, bound to one, and one more. */
const NOT_AT_ONCE = 3;
/** Nobody waits for more than the webhook's timeout of 3 s, and what the apiserver needs besides. */
const CREATION_MS_MAX = 10_000;
const SPEC = { containers: [{ name: 'app', image: 'registry.example/app:v1' }] };

/** Creates many pods at once. Tells how many were taken, how many of them were gated, and how long the slowest took. */
async function createMany(cluster: WebhookCluster, prefix: string) {
  const outcome = { taken: 0, gated: 0, slowestMs: 0 };
  const create = async (index: number) => {
    const startedAt = performance.now();
    const { status, body } = await cluster.createPod({ metadata: { name: `${prefix}-${index}` }, spec: SPEC });
    outcome.slowestMs = Math.max(outcome.slowestMs, performance.now() - startedAt);
    if (status === 201) outcome.taken += 1;
    if (body.metadata?.annotations?.['miroir.dev/gate-applied'] !== undefined) outcome.gated += 1;
  };
  await Promise.all(Array.from({ length: EACH_FAULT }, (_, index) => create(index)));
  return outcome;
}

test('500 pods are created while the webhook does everything wrong: none is rejected, and all are counted as missed', async (t) => {
  const cluster = await createWebhookCluster(t);
  const { plane } = cluster;
  const patience = AbortSignal.any([t.signal, AbortSignal.timeout(2 * PATIENCE_MS)]);
  // The apiserver asks replica 0 alone; another one is there to lead, and to count.
  await cluster.startWebhook(1);
  const leading = () => readMetric(`${plane.address}:${HEALTH_PORT + 1}`, 'miroir_webhook_leader');
  await until(async () => (await leading()) === 1, patience);
  const missed = () => readMetric(`${plane.address}:${HEALTH_PORT + 1}`, 'miroir_pods_missed');
  let count = 0;
  const expectMissed = async (prefix: string) => {
    const { taken, gated, slowestMs } = await createMany(cluster, prefix);
    assert.equal(taken, EACH_FAULT);
    assert.equal(gated, 0);
    assert.ok(slowestMs < CREATION_MS_MAX, `a pod took ${slowestMs} ms`);
    count += EACH_FAULT;
    await until(async () => (await missed()) === count, patience);
  };

  await t.test('frozen', async () => {
    const webhook = await cluster.startWebhook();
    process.kill(webhook.pid() as number, 'SIGSTOP');

    await expectMissed('frozen');

    await webhook.stop('SIGKILL');
  });

  await t.test('killed, while they are created', async () => {
    const webhook = await cluster.startWebhook();
    const creations = createMany(cluster, 'killed');
    await webhook.stop('SIGKILL');

    const { taken, gated } = await creations;

    assert.equal(taken, EACH_FAULT);
    count += EACH_FAULT - gated;
    await until(async () => (await missed()) === count, patience);
  });

  await t.test('slower than anybody waits', async (st) => {
    await startSlow(st, cluster);

    await expectMissed('slow');
  });

  for (const [word, days, trusted] of [
    ['wrong', 1, false],
    ['expired', -0.5, true],
  ] as const) {
    await t.test(`with a certificate that is ${word}`, async () => {
      const authority = trusted ? cluster.authority : await createAuthority('somebody', validity(1));
      cluster.useCertificate(await issueLeaf(authority, [`${SERVICE}.${NAMESPACE}.svc`], validity(days)));
      const webhook = await cluster.startWebhook();

      await expectMissed(word);

      await webhook.stop('SIGKILL');
    });
  }

  await t.test(
    'not there: a pod that was created for a node had nothing to miss, one that was bound to it had',
    async () => {
      const create = (name: string, more: object) =>
        cluster.createPod({ metadata: { name }, spec: { ...SPEC, ...more } });
      await plane.call('POST', '/api/v1/nodes', { metadata: { name: 'n1' } });
      assert.equal((await create('for-n1', { nodeName: 'n1' })).status, 201);
      await create('bound', {});
      const target = { apiVersion: 'v1', kind: 'Node', name: 'n1' };
      const { status } = await plane.call('POST', `/api/v1/namespaces/${TEAM}/pods/bound/binding`, {
        metadata: { name: 'bound' },
        target,
      });
      assert.equal(status, 201);

      // The next one to be created is seen after both.
      await create('last', {});
      count += 2;
      await until(async () => (await missed()) === count, patience);
    },
  );

  await t.test('without endpoints', async () => {
    const service = `/api/v1/namespaces/${NAMESPACE}/services`;
    await plane.call('DELETE', `${service}/${SERVICE}`);
    const spec = { selector: { app: 'nobody' }, ports: [{ port: WEBHOOK_PORT }] };
    await plane.call('POST', service, { metadata: { name: SERVICE }, spec });

    await expectMissed('nowhere');
  });

  const { body } = await plane.call('GET', `/api/v1/namespaces/${TEAM}/pods`);
  assert.equal(body.items.length, EACH_FAULT * FAULTS + NOT_AT_ONCE);
  const told = async () => {
    const events = await plane.call('GET', `/api/v1/namespaces/${NAMESPACE}/events?fieldSelector=reason=missed`);
    return String(events.body.items[0]?.message);
  };
  // It is written behind the count.
  await until(async () => (await told()) !== 'undefined', patience);
  assert.match(await told(), /^\d+ pods that opted in run without the gate, as team\//);
});

/** Has the right certificate, and answers after a minute. */
async function startSlow(t: TestContext, { plane, authority }: WebhookCluster): Promise<void> {
  const { certificate, key } = await issueLeaf(authority, [`${SERVICE}.${NAMESPACE}.svc`], validity(1));
  const server = https.createServer({ cert: certificate, key }, (_request, response) => {
    const answering = setTimeout(() => response.end('{}'), 60_000);
    response.on('close', () => clearTimeout(answering));
  });
  await once(server.listen(WEBHOOK_PORT, plane.address), 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
}
