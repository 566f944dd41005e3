/** Pods that ask for an agent, and a real apiserver: what it takes, and whose tokens the mirror then believes. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { Registry as MetricsRegistry } from 'prom-client';
import { silentLogger } from '../../common/log.ts';
import { createPodGuard, createPodGuardMetrics } from '../../mirror/registry/pod-guard.ts';
import { createTokenKeys } from '../../mirror/registry/token-keys.ts';
import { until } from '../lab/namespace.ts';
import { createWebhookCluster, NAMESPACE, TEAM } from './webhook-cluster.ts';

const IMAGE = 'registry.example/miroir:1';
const CONFIG_MAP = 'miroir-pod-token-keys';
const PATIENCE_MS = 20_000;
/** What the level `restricted` wants of the container of the pod. */
const RESTRICTED = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ['ALL'] },
  runAsNonRoot: true,
  seccompProfile: { type: 'RuntimeDefault' },
};
const APP = { name: 'app', image: 'registry.example/app:v1', securityContext: RESTRICTED };
/** Which Kubernetes gives to pods that name none, where there is a controller for it. */
const ACCOUNT = { serviceAccountName: 'default' };
const ASKING = { annotations: { 'miroir.dev/sidecar': 'enabled' } };

test('pods that ask get an agent that the apiserver takes, and the mirror of their node believes its token', async (t) => {
  const cluster = await createWebhookCluster(t);
  const { plane } = cluster;
  const { call } = plane;
  const configMap = `/api/v1/namespaces/${NAMESPACE}/configmaps/${CONFIG_MAP}`;
  await call('POST', `/api/v1/namespaces/${NAMESPACE}/configmaps`, { metadata: { name: CONFIG_MAP } });
  const webhook = await cluster.startWebhook(0, [
    `--sidecar-image=${IMAGE}`,
    '--sidecar-flags=--answer-tags=on',
    '--sidecar-resources=requests.cpu=7m,limits.memory=99Mi',
    `--pod-token-keys=${CONFIG_MAP}`,
  ]);
  const labels = {
    'pod-security.kubernetes.io/enforce': 'restricted',
    'pod-security.kubernetes.io/warn': 'restricted',
  };
  const merge = { contentType: 'application/merge-patch+json' };
  await call('PATCH', `/api/v1/namespaces/${TEAM}`, { metadata: { labels } }, merge);
  const create = async (name: string, spec: object, metadata: object = ASKING) => {
    const { status, body, warnings } = await cluster.createPod({
      metadata: { name, ...metadata },
      spec: { ...ACCOUNT, ...spec },
    });
    assert.equal(status, 201, JSON.stringify(body));
    const { annotations = {} } =
      plane
        .audit()
        .findLast(
          ({ verb, objectRef }) => verb === 'create' && objectRef?.resource === 'pods' && objectRef.name === name,
        ) ?? {};
    const audited = annotations['namespace.miroir.dev/sidecar'];
    assert.equal(body.metadata.annotations['miroir.dev/sidecar-applied'], audited);
    return { spec: body.spec, audited, warnings };
  };

  await t.test('within the level restricted, before all other containers', async () => {
    const { spec, audited, warnings } = await create('builder', {
      containers: [APP],
      initContainers: [{ ...APP, name: 'first' }],
    });

    assert.deepEqual([audited, warnings], ['injected', []]);
    const [agent, first] = spec.initContainers ?? [];
    assert.equal(first?.name, 'first');
    assert.deepEqual([agent?.name, agent?.image, agent?.restartPolicy], ['miroir-agent', IMAGE, 'Always']);
    assert.deepEqual(agent?.args, [
      'agent',
      '--mirror-host=$(NODE_ADDRESS)',
      '--mirror-port=29986',
      '--answer-tags=on',
    ]);
    assert.deepEqual(agent?.resources, { requests: { cpu: '7m', memory: '99Mi' }, limits: { memory: '99Mi' } });
    assert.deepEqual(spec.volumes.at(-1)?.projected.sources, [
      { serviceAccountToken: { audience: 'miroir.dev', expirationSeconds: 3600, path: 'token' } },
    ]);
  });

  for (const [word, spec, warning] of [
    ['port-taken', { containers: [{ ...APP, ports: [{ containerPort: 29_981 }] }] }, /has port 29981/],
    ['no-service-account', { serviceAccountName: '', containers: [APP] }, /no service account/],
    ['name-taken', { containers: [{ ...APP, name: 'miroir-agent' }] }, /a container miroir-agent/],
  ] as const) {
    await t.test(`a pod that leaves no place for it is admitted without: ${word}`, async () => {
      const { spec: admitted, audited, warnings } = await create(word, spec);

      assert.equal(audited, word);
      assert.match(warnings.join(), warning);
      assert.equal(admitted.initContainers, undefined);
    });
  }

  await t.test(
    'a pod that does not ask has none, and neither has one that refuses where its namespace asks',
    async () => {
      assert.equal((await create('plain', { containers: [APP] }, {})).spec.initContainers, undefined);
      await call('PATCH', `/api/v1/namespaces/${TEAM}`, { metadata: ASKING }, merge);
      const asked = async () => {
        const { body } = await cluster.createPod(
          { metadata: { name: 'any' }, spec: { ...ACCOUNT, containers: [APP] } },
          { query: '?dryRun=All' },
        );
        return body.spec.initContainers?.length === 1;
      };
      await until(asked, AbortSignal.timeout(PATIENCE_MS));

      const refusing = { annotations: { 'miroir.dev/sidecar': 'disabled' } };
      assert.equal((await create('refusing', { containers: [APP] }, refusing)).spec.initContainers, undefined);
    },
  );

  await t.test('the keys that the webhook keeps prove the token of a pod, on its own node alone', async () => {
    const keysFile = async () => (await call('GET', configMap)).body.data?.['keys.json'];
    await until(
      async () => (await keysFile()) !== undefined,
      AbortSignal.timeout(PATIENCE_MS),
      () => webhook.logTail(),
    );
    const pods = `/api/v1/namespaces/${TEAM}/pods/builder`;
    await call('POST', '/api/v1/nodes', { metadata: { name: 'n1' } });
    await call('POST', `${pods}/binding`, { metadata: { name: 'builder' }, target: { kind: 'Node', name: 'n1' } });
    const { uid } = (await call('GET', pods)).body.metadata;
    await call('POST', `/api/v1/namespaces/${TEAM}/serviceaccounts`, { metadata: { name: 'default' } });
    const tokenFor = async (audience: string) => {
      const boundObjectRef = { kind: 'Pod', apiVersion: 'v1', name: 'builder', uid };
      const spec = { audiences: [audience], boundObjectRef, expirationSeconds: 3600 };
      const { status, body } = await call('POST', `/api/v1/namespaces/${TEAM}/serviceaccounts/default/token`, { spec });
      assert.equal(status, 201, JSON.stringify(body));
      return body.status.token;
    };
    const readFile = async () => (await keysFile()) ?? '';
    const isLetIn = async (node: string, token: string) => {
      const keys = createTokenKeys({ readFile, log: silentLogger, now: Date.now }, 'keys.json');
      const guard = createPodGuard({ keys, ...createPodGuardMetrics(new MetricsRegistry()) }, node);
      return (await guard({ headers: { 'miroir-pod-token': token } } as never)) === undefined;
    };

    assert.equal(await isLetIn('n1', await tokenFor('miroir.dev')), true);
    assert.equal(await isLetIn('n2', await tokenFor('miroir.dev')), false);
    assert.equal(await isLetIn('n1', await tokenFor('https://kubernetes.default.svc')), false);
  });
});
