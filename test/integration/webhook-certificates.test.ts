/** The webhook's own certificates, and a real apiserver that has to trust them at every moment. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { setInterval as everyMs } from 'node:timers/promises';
import { readBundle } from '../../certs/bundle.ts';
import { silentLogger } from '../../common/log.ts';
import { createRandom } from '../../common/random.ts';
import { createWebhook } from '../../webhook/webhook.ts';
import { until } from '../lab/namespace.ts';
import {
  CONFIGURATION,
  createWebhookCluster,
  HEALTH_PORT,
  NAMESPACE,
  SERVICE,
  WEBHOOK_PORT,
  type WebhookCluster,
} from './webhook-cluster.ts';

const SPEC = { containers: [{ name: 'app', image: 'registry.example/app:v1' }] };
const SECRET = 'miroir-webhook-authority';
const SECRET_PATH = `/api/v1/namespaces/${NAMESPACE}/secrets/${SECRET}`;
const CONFIGURATION_PATH = `/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/${CONFIGURATION}`;
const PATIENCE_MS = 60_000;
const DAY_MS = 86_400_000;
/** Long enough for an apiserver on this machine to hear of a change, which takes it some 10 ms. */
const TIMES = { authorityMs: 365 * DAY_MS, leafMs: 30 * DAY_MS, overlapMs: 1500, retireMs: 1500 };
const ROTATIONS = 3;
const CREATION_INTERVAL_MS = 10;

test('authorities rotate three times under 100 creations a second: none fails, and none is missed', async (t) => {
  const cluster = await createWebhookCluster(t, { certificates: 'own' });
  const { plane } = cluster;
  const webhook = createWebhook(
    { log: silentLogger, random: createRandom(1) },
    {
      version: '1.2.3',
      webhookAddress: { host: plane.address, port: WEBHOOK_PORT },
      healthAddress: { host: plane.address, port: HEALTH_PORT },
      swarmKeySecret: undefined,
      podTokenKeys: undefined,
      sidecar: undefined,
      kubeconfig: cluster.kubeconfig,
      namespace: NAMESPACE,
      gate: {
        lease: 'miroir-webhook',
        identity: 'this',
        electorTimes: { leaseMs: 15_000, deadlineMs: 10_000, renewMs: 2_000 },
        mirrorSelector: 'app=mirror',
        mirrorHealthPort: 29_984,
        verdictIntervalMs: 15_000,
        forgetMs: 3_600_000,
        incompatibleShareMax: 0.5,
        waitTimeoutMs: 300_000,
      },
      certificates: {
        kind: 'own',
        service: SERVICE,
        configuration: CONFIGURATION,
        secret: SECRET,
        times: TIMES,
        intervalMs: 100,
      },
    },
  );
  await webhook.start(t.signal);
  t.after(() => webhook.stop());
  const patience = AbortSignal.any([t.signal, AbortSignal.timeout(2 * PATIENCE_MS)]);
  await until(() => isAdmitted(cluster, 'first'), patience);

  const creations = createPods(cluster);
  const authorities = new Set<string>();
  for (let rotation = 0; rotation < ROTATIONS; rotation++) {
    const before = await onlyAuthority(cluster, patience);
    authorities.add(before);
    await askForRotation(cluster);
    await until(async () => (await onlyAuthority(cluster, patience)) !== before, patience);
  }
  authorities.add(await onlyAuthority(cluster, patience));
  const outcomes = await creations.end();

  assert.equal(authorities.size, ROTATIONS + 1);
  assert.ok(outcomes.length > 500, `${outcomes.length} pods`);
  t.diagnostic(`${outcomes.length} pods in ${ROTATIONS} rotations`);
  assert.deepEqual(
    outcomes.filter((outcome) => outcome !== 'admitted'),
    [],
  );
});

/** Creates a pod every few milliseconds, whatever becomes of those before. */
function createPods(cluster: WebhookCluster) {
  const ending = new AbortController();
  const outcomes: Promise<string>[] = [];
  const create = async (name: string) => {
    const { status, body } = await cluster.createPod({ metadata: { name }, spec: SPEC });
    if (status !== 201) return `failed: ${status} ${body.message}`;
    return body.metadata.annotations?.['miroir.dev/gate-applied'] === 'block' ? 'admitted' : `missed: ${name}`;
  };
  const running = (async () => {
    const startedAt = performance.now();
    for await (const _ of everyMs(CREATION_INTERVAL_MS, undefined, { signal: ending.signal })) {
      // A tick that comes late stands for those before it.
      const due = (performance.now() - startedAt) / CREATION_INTERVAL_MS;
      while (outcomes.length < due) outcomes.push(create(`pod-${outcomes.length}`));
    }
  })().catch(() => {});
  return {
    end: async () => {
      ending.abort();
      await running;
      return Promise.all(outcomes);
    },
  };
}

async function askForRotation({ plane }: WebhookCluster): Promise<void> {
  const metadata = { annotations: { 'miroir.dev/rotate': 'now' } };
  const contentType = 'application/merge-patch+json';
  const { status } = await plane.call('PATCH', SECRET_PATH, { metadata }, { contentType });
  assert.equal(status, 200);
}

/** The one that all webhooks trust, once there is one. */
async function onlyAuthority(cluster: WebhookCluster, signal: AbortSignal): Promise<string> {
  let found: ReadonlySet<string> = new Set();
  await until(async () => {
    const bundles = await readBundles(cluster);
    found = bundles.reduce<ReadonlySet<string>>((all, ids) => all.union(ids), new Set());
    return found.size === 1 && bundles.every(({ size }) => size === 1);
  }, signal);
  return [...found][0] as string;
}

async function readBundles({ plane }: WebhookCluster): Promise<ReadonlySet<string>[]> {
  const { body } = await plane.call('GET', CONFIGURATION_PATH);
  return body.webhooks.map(({ clientConfig }: { clientConfig: { caBundle?: string } }) =>
    readBundle(Buffer.from(clientConfig.caBundle ?? '', 'base64').toString()),
  );
}

async function isAdmitted(cluster: WebhookCluster, name: string): Promise<boolean> {
  const { body } = await cluster.createPod({ metadata: { name }, spec: SPEC }, { query: '?dryRun=All' });
  return body.metadata.annotations?.['miroir.dev/gate-applied'] === 'block';
}

test('the webhook sees to its certificate by itself, whatever becomes of the Secret and of the bundles', async (t) => {
  const cluster = await createWebhookCluster(t, { certificates: 'own' });
  const { call } = cluster.plane;
  await cluster.startWebhook();
  const patience = () => AbortSignal.any([t.signal, AbortSignal.timeout(PATIENCE_MS)]);
  await until(() => isAdmitted(cluster, 'first'), patience());
  const authority = await onlyAuthority(cluster, patience());

  await t.test('a bundle that is wiped out, as by applying the manifest again, is put back', async () => {
    const { body } = await call('GET', CONFIGURATION_PATH);
    for (const webhook of body.webhooks) webhook.clientConfig.caBundle = '';
    assert.equal((await call('PUT', CONFIGURATION_PATH, body)).status, 200);

    assert.equal(await onlyAuthority(cluster, patience()), authority);
    await until(() => isAdmitted(cluster, 'after-wipe'), patience());
  });

  await t.test('a Secret that is deleted is made again, of the same authority', async () => {
    assert.equal((await call('DELETE', SECRET_PATH)).status, 200);

    await until(async () => (await call('GET', SECRET_PATH)).status === 200, patience());
    assert.equal(await onlyAuthority(cluster, patience()), authority);
    assert.ok(await isAdmitted(cluster, 'after-deletion'));
  });

  await t.test('nothing is written when nothing is to be done', async () => {
    const versions = async () => [
      (await call('GET', SECRET_PATH)).body.metadata.resourceVersion,
      (await call('GET', CONFIGURATION_PATH)).body.metadata.resourceVersion,
    ];
    const before = await versions();
    const writes = cluster.plane.audit().length;

    await cluster.startWebhook(1); // It looks at both before it is ready.

    assert.deepEqual(await versions(), before);
    assert.equal(cluster.plane.audit().length, writes);
  });
});
