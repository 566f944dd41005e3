/** The key of the swarm, made by replicas of the webhook that start at once, on a real apiserver. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { parseSwarmKeys } from '../../certs/swarm-key.ts';
import { until } from '../lab/namespace.ts';
import { createWebhookCluster, NAMESPACE } from './webhook-cluster.ts';

const PATIENCE_MS = 60_000;
const SECRETS = `/api/v1/namespaces/${NAMESPACE}/secrets`;
const FLAG = '--swarm-key-secret=miroir-swarm-key';

test('replicas that start at once make one key, and keep it', async (t) => {
  const cluster = await createWebhookCluster(t);
  const { call } = cluster.plane;
  const patience = AbortSignal.any([t.signal, AbortSignal.timeout(PATIENCE_MS)]);
  const secret = async () => (await call('GET', `${SECRETS}/miroir-swarm-key`)).body;

  const replicas = await Promise.all([cluster.startWebhook(0, [FLAG]), cluster.startWebhook(1, [FLAG])]);

  await until(async () => (await secret()).kind === 'Secret', patience);
  const made = replicas.filter((replica) => replica.logTail().includes('The key of the swarm was made'));
  assert.equal(made.length, 1);
  const { data, metadata } = await secret();
  assert.equal(parseSwarmKeys(Buffer.from(data['swarm.key'] ?? '', 'base64').toString()).length, 1);

  await t.test('a replica that comes later leaves it as it is', async () => {
    const later = await cluster.startWebhook(2, [FLAG, '--log-level=debug']);

    await until(async () => later.logTail().includes('The key of the swarm is there'), patience);

    assert.equal((await secret()).metadata.resourceVersion, metadata.resourceVersion);
  });
});
