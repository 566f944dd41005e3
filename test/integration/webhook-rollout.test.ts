/** Pods that a real scheduler binds to nodes that are compatible, incompatible and unlabelled, in every mode. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { addNode } from '../lab/cluster/add-node.ts';
import type { AuditEvent } from '../lab/cluster/audit-log.ts';
import type { KubeList } from '../lab/cluster/kube-object.ts';
import { until } from '../lab/namespace.ts';
import { createMirrors, labels, readMetric } from './gate-nodes.ts';
import { runPods } from './run-pods.ts';
import { CONFIGURATION, createWebhookCluster, HEALTH_PORT, NAMESPACE } from './webhook-cluster.ts';

const PATIENCE_MS = 240_000;
const SHOP = 'shop';
const REPLICAS = 50;
const EACH_MODE = 6;
const TEMPLATE = { containers: [{ name: 'app', image: 'registry.example/app:v1' }] };
const MERGE = { contentType: 'application/merge-patch+json' };

interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly labels?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
  readonly spec: { readonly nodeName?: string; readonly affinity?: object };
}

function applied({ metadata }: Pod): string | undefined {
  return metadata.annotations?.['miroir.dev/gate-applied'];
}

test('opted-in pods run on compatible and unlabelled nodes, and always somewhere', async (t) => {
  const cluster = await createWebhookCluster(t, { scheduler: true, controllerManager: true });
  const { plane } = cluster;
  const { call } = plane;
  const patience = AbortSignal.any([t.signal, AbortSignal.timeout(PATIENCE_MS)]);
  await call('POST', '/api/v1/namespaces', { metadata: { name: SHOP } });
  for (const namespace of [SHOP, NAMESPACE]) {
    const account = `/api/v1/namespaces/${namespace}/serviceaccounts/default`;
    await until(async () => (await call('GET', account)).status === 200, patience);
  }
  for (const name of ['bad-1', 'bad-2', 'good-1', 'good-2', 'new-1']) await addNode(call, name, {}, patience);
  runPods(t, call);
  const mirrors = await createMirrors(t, call, NAMESPACE);
  const good = [await mirrors.add('good-1', 'compatible'), await mirrors.add('good-2', 'compatible')];
  for (const name of ['bad-1', 'bad-2']) await mirrors.add(name, 'incompatible');
  const webhook = await cluster.startWebhook(0, ['--verdict-interval=300ms', `--mirror-health-port=${mirrors.port}`]);
  await until(async () => /bad-1=i.* bad-2=i.* good-1=c.* good-2=c.* new-1=-/.test(await labels(call)), patience);

  const pods = async (app: string): Promise<readonly Pod[]> => {
    const { body } = await call<KubeList<Pod>>('GET', `/api/v1/namespaces/${SHOP}/pods?labelSelector=app%3D${app}`);
    return body.items.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  };
  /** Each once; `-` for a pod that is bound to none. */
  const nodesOf = async (app: string) =>
    [...new Set((await pods(app)).map(({ spec }) => spec.nodeName ?? '-'))].toSorted();
  const deployment = `/apis/apps/v1/namespaces/${SHOP}/deployments`;
  const metric = (series: string) => readMetric(`${plane.address}:${HEALTH_PORT}`, series);
  const missed = (count: number) => until(async () => (await metric('miroir_pods_missed')) === count, patience);

  async function roll(round: string): Promise<void> {
    const template = { metadata: { annotations: { 'kubectl.kubernetes.io/restartedAt': round } } };
    await call('PATCH', `${deployment}/shop`, { spec: { template } }, MERGE);
    await until(async () => {
      const { body } = await call('GET', `${deployment}/shop`);
      const { observedGeneration, updatedReplicas, readyReplicas, replicas } = body.status;
      const isWhole = updatedReplicas === REPLICAS && readyReplicas === REPLICAS && replicas === REPLICAS;
      return isWhole && observedGeneration === body.metadata.generation && (await pods('shop')).length === REPLICAS;
    }, patience);
  }

  await call('POST', deployment, {
    metadata: { name: 'shop' },
    spec: {
      replicas: REPLICAS,
      selector: { matchLabels: { app: 'shop' } },
      template: { metadata: { labels: { app: 'shop' } }, spec: { ...TEMPLATE, terminationGracePeriodSeconds: 0 } },
    },
  });
  await roll('before');
  assert.deepEqual(await nodesOf('shop'), ['bad-1', 'bad-2', 'good-1', 'good-2', 'new-1']);

  await t.test(
    'a namespace opts in: its pods leave incompatible nodes with the next rollout, and were missed until then',
    async () => {
      await call(
        'PATCH',
        `/api/v1/namespaces/${SHOP}`,
        { metadata: { labels: { 'miroir.dev/mirror': 'enabled' } } },
        MERGE,
      );
      await missed(REPLICAS);

      await roll('opted in');

      assert.deepEqual(await nodesOf('shop'), ['good-1', 'good-2', 'new-1']);
      assert.deepEqual(new Set((await pods('shop')).map(applied)), new Set(['block']));
      await missed(0);
      const audited = plane.audit().filter(isAdmitted('block'));
      assert.ok(audited.length >= REPLICAS, `${audited.length} in the audit log`);
    },
  );

  await t.test('every mode binds, each where it says', async () => {
    for (const mode of ['require', 'prefer', 'wait', 'off']) {
      for (let index = 0; index < EACH_MODE; index++) {
        const metadata = { name: `${mode}-${index}`, labels: { app: mode }, annotations: { 'miroir.dev/gate': mode } };
        const { status, body } = await cluster.createPod({ metadata, spec: TEMPLATE }, { namespace: SHOP });
        assert.equal(status, 201, JSON.stringify(body));
      }
      await until(async () => (await pods(mode)).every(({ spec }) => spec.nodeName !== undefined), patience);
      assert.deepEqual(new Set((await pods(mode)).map(applied)), new Set([mode]));
    }

    const nodes = await nodesOf('require');
    assert.ok(
      nodes.every((name) => name.startsWith('good-')),
      String(nodes),
    );
    assert.equal(await metric('miroir_gate_lifted_total{reason="ready"}'), EACH_MODE);
  });

  await t.test('a node that an autoscaler adds for a pending pod gets it, before anybody has labelled it', async () => {
    const pod = {
      metadata: { name: 'grown', labels: { app: 'grown' } },
      spec: { ...TEMPLATE, nodeSelector: { pool: 'new' } },
    };
    await cluster.createPod(pod, { namespace: SHOP });
    const isPending = async () =>
      (await call('GET', `/api/v1/namespaces/${SHOP}/pods/grown`)).body.status.conditions?.[0]?.reason ===
      'Unschedulable';
    await until(isPending, patience);

    await addNode(call, 'new-2', { pool: 'new' }, patience);

    await until(async () => String(await nodesOf('grown')) === 'new-2', patience);
  });

  await t.test('a DaemonSet runs everywhere, and its pods are as it made them', async () => {
    await call('POST', `/apis/apps/v1/namespaces/${SHOP}/daemonsets`, {
      metadata: { name: 'agent' },
      spec: {
        selector: { matchLabels: { app: 'agent' } },
        template: { metadata: { labels: { app: 'agent' } }, spec: TEMPLATE },
      },
    });

    await until(async () => (await nodesOf('agent')).length === 6 && !(await nodesOf('agent')).includes('-'), patience);

    assert.deepEqual(new Set((await pods('agent')).map(applied)), new Set([undefined]));
    assert.equal(await metric('miroir_pods_missed'), 0);
  });

  await t.test(
    'where too many nodes are incompatible the gate is bypassed, everybody is told, and it comes back',
    async () => {
      for (const mirror of good) mirror.say('incompatible');
      await until(async () => !(await labels(call)).includes('=compatible'), patience);
      const create = async (name: string) =>
        cluster.createPod({ metadata: { name, labels: { app: name } }, spec: TEMPLATE }, { namespace: SHOP });
      const events = async () =>
        (await call('GET', `/api/v1/namespaces/${NAMESPACE}/events?fieldSelector=involvedObject.kind=Namespace`)).body
          .items;

      const { body, warnings } = await create('bypassed');

      assert.equal(applied(body), 'bypassed');
      assert.match(warnings.join(), /gate mode block is bypassed, since no node is known to be compatible/);
      assert.equal(plane.audit().filter(isAdmitted('bypassed')).length, 1);
      assert.equal(await metric('miroir_admissions_total{outcome="admitted",word="bypassed"}'), 1);
      assert.equal(await metric('miroir_gate_bypassed{mode="block",reason="no-compatible-node"}'), 1);
      await until(async () => (await events()).some(({ reason }) => reason === 'bypassed'), patience);
      await until(async () => !(await nodesOf('bypassed')).includes('-'), patience);

      for (const mirror of good) mirror.say('compatible');
      await until(async () => (await events()).some(({ reason }) => reason === 'block'), patience);
      assert.equal(applied((await create('gated')).body), 'block');
    },
  );

  await t.test('without Miroir the same pods are created, and bound', async () => {
    await call('DELETE', `/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/${CONFIGURATION}`);
    await webhook.stop();

    await roll('uninstalled');

    assert.deepEqual(new Set((await pods('shop')).map(applied)), new Set([undefined]));
  });
});

function isAdmitted(gate: string) {
  return ({ verb, objectRef, annotations = {} }: AuditEvent) =>
    verb === 'create' && objectRef?.resource === 'pods' && annotations['namespace.miroir.dev/gate'] === gate;
}
