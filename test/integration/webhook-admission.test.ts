/** `miroir webhook` and a real apiserver: what becomes of pods, and what the audit log says of it. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import https from 'node:https';
import test from 'node:test';
import fc from 'fast-check';
import { createAuthority, issueLeaf } from '../../certs/authority.ts';
import type { AuditEvent } from '../lab/cluster/audit-log.ts';
import type { KubeList } from '../lab/cluster/kube-object.ts';
import { until } from '../lab/namespace.ts';
import { pod as anyPod } from '../property/pod-arbitrary.ts';
import { createWebhookCluster, STRANGER, TEAM, validity, type WebhookCluster } from './webhook-cluster.ts';

const SPEC = { containers: [{ name: 'app', image: 'registry.example/app:v1' }] };
const NOT_INCOMPATIBLE = { key: 'miroir.dev/containerd', operator: 'NotIn', values: ['incompatible'] };
const PATIENCE_MS = 60_000;
/** That the apiserver takes without us: most of the random ones it does not. Each is two dry runs of some milliseconds. */
const RANDOM_PODS = 100;

function named(name: string, metadata: object = {}) {
  return { metadata: { name, ...metadata }, spec: SPEC };
}

/** What our webhooks wrote for the last answered creation of a pod: the webhook's name is cut off. */
function audited({ plane }: WebhookCluster): Readonly<Record<string, string>> {
  return ourWords(plane.audit().findLast(isCreation));
}

function isCreation({ verb, objectRef }: AuditEvent): boolean {
  return verb === 'create' && objectRef?.resource === 'pods';
}

function ourWords(event: AuditEvent | undefined): Readonly<Record<string, string>> {
  const words = Object.entries(event?.annotations ?? {}).filter(([key]) => /^(namespace|pod)\.miroir\.dev\//.test(key));
  return Object.fromEntries(words.map(([key, value]) => [key.split('/')[1], value]));
}

function failedOpen({ annotations = {} }: AuditEvent): boolean {
  return Object.keys(annotations).some((key) => key.startsWith('failed-open.mutation.webhook.admission.k8s.io/'));
}

test('the apiserver takes what the webhook makes of a pod, and logs why', async (t) => {
  const cluster = await createWebhookCluster(t);
  await cluster.startWebhook();

  await t.test('a pod of a namespace that opted in is gated', async () => {
    const { status, body } = await cluster.createPod(named('plain'));

    assert.equal(status, 201);
    assert.equal(body.metadata.annotations['miroir.dev/gate-applied'], 'block');
    assert.match(body.metadata.annotations['miroir.dev/admitted'] ?? '', /^\d+\.\d+\.\d+$/);
    const { nodeSelectorTerms } = body.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution;
    assert.deepEqual(nodeSelectorTerms, [{ matchExpressions: [NOT_INCOMPATIBLE] }]);
    assert.deepEqual(audited(cluster), { outcome: 'admitted', gate: 'block' });
  });

  await t.test('every mode is one that the apiserver takes', async () => {
    const labels = { 'miroir.dev/containerd': 'compatible' };
    await cluster.plane.call('POST', '/api/v1/nodes', { metadata: { name: 'compatible', labels } });
    const canBeHad = async (mode: string) => {
      const pod = named('asks', { annotations: { 'miroir.dev/gate': mode } });
      return (await cluster.createPod(pod, { query: '?dryRun=All' })).warnings.length === 0;
    };
    // The node has to be heard of, and somebody has to lead.
    await until(async () => (await canBeHad('require')) && (await canBeHad('wait')), AbortSignal.timeout(PATIENCE_MS));
    for (const [asked, gate] of Object.entries({
      require: 'require',
      prefer: 'prefer',
      wait: 'wait',
      off: 'off',
    })) {
      const annotations = { 'miroir.dev/gate': asked };

      const { status, body, warnings } = await cluster.createPod(named(`mode-${asked}`, { annotations }));

      assert.equal(status, 201, JSON.stringify(body));
      assert.equal(body.metadata.annotations['miroir.dev/gate-applied'], gate);
      assert.deepEqual(warnings, []);
      assert.deepEqual(audited(cluster), { outcome: 'admitted', gate });
    }
  });

  await t.test('nobody is asked about other namespaces, and about pods that opt out', async () => {
    const other = await cluster.createPod(named('plain'), { namespace: STRANGER });
    assert.equal(other.body.metadata.annotations, undefined);
    const out = await cluster.createPod(named('out', { labels: { 'miroir.dev/mirror': 'disabled' } }));
    assert.equal(out.body.spec.affinity, undefined);

    assert.deepEqual(audited(cluster), {});
  });

  await t.test('a pod can opt in by itself', async () => {
    const pod = named('in', { labels: { 'miroir.dev/mirror': 'enabled' } });

    const { body } = await cluster.createPod(pod, { namespace: STRANGER });

    assert.equal(body.metadata.annotations['miroir.dev/gate-applied'], 'block');
  });

  await t.test('a pod that must run where it is is left alone, and the audit log says why', async () => {
    const { body } = await cluster.createPod({ metadata: { name: 'bound' }, spec: { ...SPEC, nodeName: 'n1' } });

    assert.equal(body.spec.affinity, undefined);
    assert.deepEqual(audited(cluster), { outcome: 'skipped', reason: 'node-name-set' });
  });

  await t.test("the namespace's mode holds for pods that have none, from the moment it is set", async () => {
    const annotations = { 'miroir.dev/gate': 'require' };
    const contentType = 'application/merge-patch+json';
    await cluster.plane.call('PATCH', `/api/v1/namespaces/${TEAM}`, { metadata: { annotations } }, { contentType });
    const gate = async () => {
      const { body } = await cluster.createPod(named('asks'), { query: '?dryRun=All' });
      return body.metadata.annotations['miroir.dev/gate-applied'];
    };

    await until(async () => (await gate()) === 'require', AbortSignal.timeout(PATIENCE_MS));

    const off = { metadata: { annotations: { 'miroir.dev/gate': null } } };
    await cluster.plane.call('PATCH', `/api/v1/namespaces/${TEAM}`, off, { contentType });
    await until(async () => (await gate()) === 'block', AbortSignal.timeout(PATIENCE_MS));
  });

  await t.test('an ephemeral container can be added to a gated pod', async () => {
    const ephemeralContainers = [{ name: 'debug', image: 'registry.example/debug:v1' }];

    const { status } = await cluster.plane.call(
      'PATCH',
      `/api/v1/namespaces/${TEAM}/pods/plain/ephemeralcontainers`,
      { spec: { ephemeralContainers } },
      { contentType: 'application/strategic-merge-patch+json' },
    );

    assert.equal(status, 200);
  });

  await t.test('a pod with as many annotations as the apiserver takes is taken', async () => {
    const annotations = { note: 'x'.repeat(256 * 1024 - 4) };

    const { status, warnings } = await cluster.createPod(named('noted', { annotations }));

    assert.equal(status, 201);
    assert.equal(warnings.length, 1);
    assert.deepEqual(audited(cluster), { outcome: 'skipped', reason: 'too-large' });
  });

  await t.test('whatever pod it takes without us it takes with us', async () => {
    const property = fc.asyncProperty(anyPod, async (pod) => {
      const query = '?dryRun=All';
      const without = await cluster.createPod(
        { ...pod, metadata: { ...pod.metadata, labels: { 'miroir.dev/mirror': 'disabled' } } },
        { namespace: STRANGER, query },
      );
      fc.pre(without.status === 201);

      const { status, body } = await cluster.createPod(pod, { query });

      assert.equal(status, 201, `${body.message}`);
    });
    await fc.assert(property, { numRuns: RANDOM_PODS });
  });
});

test('asked a second time, after another webhook changed the pod, it adds nothing and logs the same', async (t) => {
  const cluster = await createWebhookCluster(t);
  await cluster.startWebhook();
  await configureMeddler(t, cluster);

  const { status, body } = await cluster.createPod(named('meddled'));

  assert.equal(status, 201);
  assert.equal(body.metadata.labels['meddler'], 'was-here');
  const { nodeSelectorTerms } = body.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution;
  assert.deepEqual(nodeSelectorTerms, [{ matchExpressions: [NOT_INCOMPATIBLE] }]);
  const event = cluster.plane.audit().findLast(isCreation);
  const again = event?.annotations?.['mutation.webhook.admission.k8s.io/round_1_index_0'];
  assert.deepEqual(JSON.parse(again ?? '{}'), {
    configuration: 'miroir',
    webhook: 'namespace.miroir.dev',
    mutated: false,
  });
  assert.deepEqual(ourWords(event), { outcome: 'admitted', gate: 'block' });
});

/** A webhook of somebody else's, after ours, that changes the pod. */
async function configureMeddler(t: test.TestContext, { plane, authority }: WebhookCluster): Promise<void> {
  const { certificate, key } = await issueLeaf(authority, ['meddler.miroir.svc'], validity(1));
  const server = https.createServer({ cert: certificate, key }, (request, response) => {
    void request.toArray().then((chunks) => {
      const { apiVersion, kind, request: asked } = JSON.parse(Buffer.concat(chunks as Buffer[]).toString());
      const patch = [{ op: 'add', path: '/metadata/labels', value: { meddler: 'was-here' } }];
      const encoded = Buffer.from(JSON.stringify(patch)).toString('base64');
      const answer = { uid: asked.uid, allowed: true, patchType: 'JSONPatch', patch: encoded };
      response
        .setHeader('content-type', 'application/json')
        .end(JSON.stringify({ apiVersion, kind, response: answer }));
    });
  });
  const port = 29_300;
  await once(server.listen(port, plane.address), 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await plane.call('POST', '/api/v1/namespaces/miroir/services', {
    metadata: { name: 'meddler' },
    spec: { type: 'ExternalName', externalName: plane.address },
  });
  const { status, body } = await plane.call(
    'POST',
    '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations',
    {
      metadata: { name: 'zz-meddler' }, // Configurations are asked in the order of their names.
      webhooks: [
        {
          name: 'meddler.example.com',
          clientConfig: {
            service: { namespace: 'miroir', name: 'meddler', path: '/', port },
            caBundle: Buffer.from(authority.certificate).toString('base64'),
          },
          rules: [{ apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], operations: ['CREATE'] }],
          objectSelector: { matchExpressions: [{ key: 'meddler', operator: 'DoesNotExist' }] },
          admissionReviewVersions: ['v1'],
          sideEffects: 'None',
        },
      ],
    },
  );
  assert.equal(status, 201, JSON.stringify(body));
}

test('pods are created all the same, and the audit log says that nobody answered', async (t) => {
  const cluster = await createWebhookCluster(t);
  const expectFailedOpen = async (name: string) => {
    const { status, body } = await cluster.createPod(named(name));
    assert.equal(status, 201);
    assert.equal(body.metadata.annotations, undefined);
    const event = cluster.plane.audit().findLast(isCreation);
    assert.ok(event && failedOpen(event), JSON.stringify(event));
  };

  await t.test('when there is no webhook', () => expectFailedOpen('none'));

  const webhook = await cluster.startWebhook();
  const { body } = await cluster.createPod(named('answered'));
  assert.equal(body.metadata.annotations['miroir.dev/gate-applied'], 'block');

  await t.test('when it hangs, within its timeout of 3 s', async () => {
    process.kill(webhook.pid() as number, 'SIGSTOP');
    const startedAt = performance.now();

    await expectFailedOpen('hung');

    assert.ok(performance.now() - startedAt < 4000);
  });

  await t.test('when it was killed', async () => {
    await webhook.stop('SIGKILL');

    await expectFailedOpen('killed');
  });

  for (const [title, days, trusted] of [
    ['of an authority that nobody trusts', 1, false],
    ['that has expired', -0.5, true],
  ] as const) {
    await t.test(`when it has a certificate ${title}`, async () => {
      const authority = trusted ? cluster.authority : await createAuthority('somebody', validity(1));
      cluster.useCertificate(await issueLeaf(authority, ['miroir-webhook.miroir.svc'], validity(days)));
      const wrong = await cluster.startWebhook();

      await expectFailedOpen(trusted ? 'expired' : 'untrusted');

      await wrong.stop('SIGKILL');
    });
  }
});

test('the pods of every kind of workload are gated, but those that run on each node', async (t) => {
  const cluster = await createWebhookCluster(t, { controllerManager: true });
  await cluster.startWebhook();
  const { call } = cluster.plane;
  const labels = { app: 'app' };
  const template = { metadata: { labels }, spec: { ...SPEC, restartPolicy: 'Always' } };
  const once = { ...template, spec: { ...SPEC, restartPolicy: 'Never' } };
  const selector = { matchLabels: labels };
  const workloads = {
    'apps/v1/deployments': { replicas: 1, selector, template },
    'apps/v1/statefulsets': { replicas: 1, selector, template, serviceName: 'app' },
    'batch/v1/jobs': { template: once },
    'batch/v1/cronjobs': { schedule: '* * * * *', jobTemplate: { spec: { template: once } } },
  };
  await call('POST', '/api/v1/nodes', { metadata: { name: 'n1' } });

  for (const [kind, spec] of Object.entries({ ...workloads, 'apps/v1/daemonsets': { selector, template } })) {
    const [group, version, plural] = kind.split('/');
    const path = `/apis/${group}/${version}/namespaces/${TEAM}/${plural}`;
    const { status, body } = await call('POST', path, { metadata: { name: plural }, spec });
    assert.equal(status, 201, JSON.stringify(body));
  }

  const pods = async () => (await call<KubeList<Pod>>('GET', `/api/v1/namespaces/${TEAM}/pods`)).body.items;
  const owners = new Set(['ReplicaSet', 'StatefulSet', 'Job', 'DaemonSet']);
  const patience = AbortSignal.any([t.signal, AbortSignal.timeout(PATIENCE_MS * 2)]);
  // A CronJob's first pod comes with the next minute.
  const all = async () => {
    const found = await pods();
    const seen = new Set(found.map(({ metadata }) => metadata.ownerReferences[0]?.kind));
    return owners.difference(seen).size === 0 && found.some(({ metadata }) => metadata.name.startsWith('cronjobs-'));
  };
  await until(all, patience);
  for (const { metadata, spec } of await pods()) {
    const isDaemon = metadata.ownerReferences[0]?.kind === 'DaemonSet';
    assert.equal(metadata.annotations?.['miroir.dev/gate-applied'], isDaemon ? undefined : 'block', metadata.name);
    assert.equal(JSON.stringify(spec.affinity ?? {}).includes('miroir.dev'), !isDaemon, metadata.name);
  }
});

interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences: readonly { readonly kind: string }[];
  };
  readonly spec: { readonly affinity?: object };
}
