/** A real cert-manager keeps the webhook's certificate, in a cluster of one node: what kubelet mounts is what the apiserver gets to see. */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import test from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import tls from 'node:tls';
import { documentedAt } from '../documented/run-documented.ts';
import { type CertManager, startCertManager } from '../lab/cluster/cert-manager.ts';
import { CHART } from '../lab/cluster/helm.ts';
import type { KubeList } from '../lab/cluster/kube-object.ts';
import { run, until } from '../lab/namespace.ts';
import { findBuilt } from '../lab/programs.ts';
import { type InstalledCluster, installCluster, NAMESPACE } from './installed-cluster.ts';
import { objectsLeft } from './prune.ts';

const DEADLINE_MS = 5 * 60_000;
const SERVICE = `miroir-webhook.${NAMESPACE}.svc`;
const PORT = 29_985;
const LEAF = 'miroir-webhook-tls';
const AUTHORITY = 'miroir-webhook-tls-authority';
const SECRETS = `/api/v1/namespaces/${NAMESPACE}/secrets`;
const CERTIFICATES = `/apis/cert-manager.io/v1/namespaces/${NAMESPACE}/certificates`;
const CONFIGURATION = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/miroir';
const CREATION_INTERVAL_MS = 20;

test('cert-manager makes the certificate, and renews it under pods that are created all the time: none is missed', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
  let certManager: CertManager | undefined;
  t.after(() => certManager?.stop());
  const cluster = await installCluster(
    {
      nodes: ['2.4'],
      helm: 'helm',
      values: ['webhook.certManager.enabled=true'],
      prepare: async ({ plane }) => {
        certManager = await startCertManager(plane, signal);
      },
    },
    signal,
  );
  t.after(() => cluster.down());
  const { call } = cluster.plane;
  t.diagnostic(`ready ${Math.round(cluster.installMs)} ms after the install`);
  await call('POST', '/api/v1/namespaces', { metadata: { name: 'team', labels: { 'miroir.dev/mirror': 'enabled' } } });

  await t.test(
    'a pod of a namespace that opted in is admitted by a webhook that the apiserver knows by it',
    async () => {
      await until(() => isAdmitted(cluster), signal);

      const { leaf, authority } = await readPair(cluster);
      assert.deepEqual(await readBundles(cluster), [authority, authority]);
      assert.deepEqual(await servedBy(cluster), [leaf.serialNumber, leaf.serialNumber]);
    },
  );

  const pods = await webhookPods(cluster);
  const renewals = [
    { title: 'renewed when it is asked for', change: () => renew(cluster, LEAF, signal), isOfSameAuthority: true },
    {
      title: 'made anew, of an authority that was renewed, when its Secret was deleted',
      change: async () => {
        await renew(cluster, AUTHORITY, signal);
        assert.equal((await call('DELETE', `${SECRETS}/${LEAF}`)).status, 200);
      },
      isOfSameAuthority: false,
    },
  ];
  for (const { title, change, isOfSameAuthority } of renewals) {
    await t.test(
      `a certificate that is ${title} is served without a restart, and no pod is missed meanwhile`,
      async (renewal) => {
        const before = await readPair(cluster);
        const creations = startCreations(cluster);
        const startedAt = performance.now();

        await change();
        await until(async () => {
          const now = await findPair(cluster);
          return now !== undefined && now.leaf.serialNumber !== before.leaf.serialNumber;
        }, signal);
        const { leaf, authority } = await readPair(cluster);
        const isServed = async () => (await servedBy(cluster)).every((serial) => serial === leaf.serialNumber);
        await until(isServed, signal, () => 'the webhook serves the certificate of before');
        const ms = Math.round(performance.now() - startedAt);
        const { created, missed } = await creations.stop();

        renewal.diagnostic(`served ${ms} ms later, ${created} pods created meanwhile`);
        assert.deepEqual({ missed, pods: await webhookPods(cluster) }, { missed: [], pods });
        assert.equal(authority === before.authority, isOfSameAuthority);
        assert.deepEqual(await readBundles(cluster), [authority, authority]);
      },
    );
  }

  const bash = (script: string) =>
    run(
      ['bash', '-c', script],
      { env: { PATH: `${findBuilt('kubernetes')}:${process.env['PATH']}`, KUBECONFIG: cluster.plane.kubeconfig } },
      signal,
    );
  for (const { command, run: runIt } of documentedAt('cert-manager', { bash })) await t.test(command, runIt);

  await t.test('an upgrade leaves the caBundles to cert-manager', async () => {
    const bundles = await readBundles(cluster);

    await cluster.helm('upgrade', 'miroir', CHART, '--reuse-values', '--set=webhook.timeoutSeconds=2');

    assert.deepEqual(await readBundles(cluster), bundles);
    assert.ok(await isAdmitted(cluster));
  });

  await t.test('an uninstall leaves nothing', async () => {
    await cluster.helm('uninstall', 'miroir', '--wait', '--timeout=60s');

    await until(
      async () => (await objectsLeft(cluster)).length === 0,
      signal,
      () => 'something is left',
    );
    assert.deepEqual((await call('GET', CERTIFICATES)).body.items, []);
  });
});

/** As `cmctl renew` does. Resolves when there is another certificate. */
async function renew({ plane: { call } }: InstalledCluster, name: string, signal: AbortSignal): Promise<void> {
  const certificate = `${CERTIFICATES}/${name}`;
  const { body } = await call('GET', certificate);
  const conditions = [
    ...body.status.conditions,
    { type: 'Issuing', status: 'True', reason: 'ManuallyTriggered', message: 'renew', observedGeneration: 1 },
  ];
  const merge = { contentType: 'application/merge-patch+json' };
  const { status } = await call('PATCH', `${certificate}/status`, { status: { conditions } }, merge);
  assert.equal(status, 200);
  await until(async () => (await call('GET', certificate)).body.status.revision > body.status.revision, signal);
}

interface Pair {
  readonly leaf: X509Certificate;
  readonly authority: string;
}

/** What cert-manager keeps for the webhook; undefined while there is none. */
async function findPair({ plane: { call } }: InstalledCluster): Promise<Pair | undefined> {
  const { status, body } = await call('GET', `${SECRETS}/${LEAF}`);
  if (status === 404) return undefined;
  const decode = (text: string) => Buffer.from(text, 'base64').toString();
  return {
    leaf: new X509Certificate(decode(body.data['tls.crt'] ?? '')),
    authority: decode(body.data['ca.crt'] ?? ''),
  };
}

async function readPair(cluster: InstalledCluster): Promise<Pair> {
  return (await findPair(cluster)) ?? assert.fail('the Secret is not there');
}

async function readBundles({ plane: { call } }: InstalledCluster): Promise<readonly string[]> {
  const { body } = await call('GET', CONFIGURATION);
  return body.webhooks.map(({ clientConfig }: { readonly clientConfig: { readonly caBundle?: string } }) =>
    Buffer.from(clientConfig.caBundle ?? '', 'base64').toString(),
  );
}

interface WebhookPod {
  readonly address: string;
  readonly name: string;
  readonly restarts: number;
}

async function webhookPods({ plane: { call } }: InstalledCluster): Promise<readonly WebhookPod[]> {
  const selector = 'labelSelector=app.kubernetes.io/component=webhook';
  const { body } = await call<KubeList<Pod>>('GET', `/api/v1/namespaces/${NAMESPACE}/pods?${selector}`);
  return body.items.map(({ metadata, status }) => ({
    address: status.podIP,
    name: metadata.name,
    restarts: status.containerStatuses.reduce((sum, { restartCount }) => sum + restartCount, 0),
  }));
}

interface Pod {
  readonly metadata: { readonly name: string };
  readonly status: { readonly podIP: string; readonly containerStatuses: readonly { readonly restartCount: number }[] };
}

/** The serial number of what each replica serves, to a client that trusts whom the apiserver trusts. */
async function servedBy(cluster: InstalledCluster): Promise<readonly string[]> {
  const [ca = ''] = await readBundles(cluster);
  const pods = await webhookPods(cluster);
  return Promise.all(pods.map(({ address }) => serialOf(address, ca)));
}

async function serialOf(host: string, ca: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = tls.connect({ host, port: PORT, ca, servername: SERVICE }, () => {
    resolve(socket.getPeerX509Certificate()?.serialNumber ?? '');
  });
  socket.on('error', reject);
  return promise.finally(() => socket.destroy());
}

async function isAdmitted({ plane: { call } }: InstalledCluster): Promise<boolean> {
  const pod = { metadata: { name: 'app' }, spec: { containers: [{ name: 'app', image: 'app' }] } };
  const { status, body } = await call('POST', '/api/v1/namespaces/team/pods?dryRun=All', pod);
  assert.equal(status, 201, JSON.stringify(body));
  return body.metadata.annotations?.['miroir.dev/gate-applied'] === 'block';
}

/** Creates pods one after another until it is stopped; resolves to when, in milliseconds since its start, some were missed. */
function startCreations(cluster: InstalledCluster): {
  stop(): Promise<{ readonly created: number; readonly missed: readonly number[] }>;
} {
  const startedAt = performance.now();
  const stopped = new AbortController();
  const run = async () => {
    const missed: number[] = [];
    let created = 0;
    while (!stopped.signal.aborted) {
      if (!(await isAdmitted(cluster))) missed.push(Math.round(performance.now() - startedAt));
      created += 1;
      await delay(CREATION_INTERVAL_MS);
    }
    return { created, missed };
  };
  const ran = run();
  return {
    stop: () => {
      stopped.abort();
      return ran;
    },
  };
}
