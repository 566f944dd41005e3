/** Pods of every shape that Kubernetes' own API has for them: what a real apiserver admits without us, it admits with us. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { eachAtOnce } from '../../webhook/gate/each-at-once.ts';
import type { KubeAnswer } from '../lab/cluster/kube-call.ts';
import type { Schemas } from '../lab/cluster/kubernetes-schemas.ts';
import { until } from '../lab/namespace.ts';
import { onlyWhatWasThere } from '../property/only-what-was-there.ts';
import { schemaArbitrary } from '../property/schema-arbitrary.ts';
import { cutOutCauses, type Refusal } from './cut-out-causes.ts';
import { createWebhookCluster, STRANGER, TEAM, type WebhookCluster } from './webhook-cluster.ts';

const SPEC = 'io.k8s.api.core.v1.PodSpec';
const METADATA = 'io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta';
const PATIENCE_MS = 60_000;
/** Of each field of a pod. */
const PODS = 30;
const PODS_AT_ONCE = 8;
/** After so many refusals a pod is no pod. */
const CUTS_MAX = 6;
const DRY_RUN = '?dryRun=All';

const name = fc.constantFrom('a', 'app', 'b-1', 'c', 'd', 'e', 'f');
const quantity = fc.constantFrom('1', '10m', '1Gi', '0');
const resources = fc.dictionary(fc.constantFrom('cpu', 'memory', 'example.com/thing'), quantity, { maxKeys: 2 });
const texts = fc.dictionary(fc.constantFrom('a', 'app', 'example.com/b'), fc.constantFrom('', 'a', 'b'), {
  maxKeys: 2,
});
const WORDS = {
  name,
  image: fc.constantFrom('registry.example/app:v1', 'app'),
  divisor: fc.constantFrom('1', '0'),
  sizeLimit: quantity,
  limits: resources,
  requests: resources,
  overhead: fc.constant({ cpu: '10m' }),
  matchLabels: texts,
  'ObjectMeta.name': name,
  'ObjectMeta.generateName': fc.constantFrom('app-', 'b'),
  'ObjectMeta.labels': texts,
  'ObjectMeta.annotations': fc.record(
    { note: fc.string({ unit: 'grapheme', maxLength: 20 }), 'miroir.dev/gate-applied': fc.constantFrom('block', '') },
    { requiredKeys: [] },
  ),
  'ObjectMeta.finalizers': fc.constant(['example.com/hold']),
  'PodSpec.priorityClassName': fc.constantFrom('system-node-critical', 'ordinary'),
  'PodSpec.runtimeClassName': fc.constant('sandbox'),
  'PodSpec.serviceAccountName': name,
  'PodSpec.nodeName': fc.constantFrom('', 'compatible'),
  'PodSpec.nodeSelector': texts,
  'PodSpec.resources': fc.record({ requests: fc.constant({ cpu: '10m' }), limits: fc.constant({ memory: '1Gi' }) }),
  'PodSpec.priority': fc.constant(0),
  'PodSpec.preemptionPolicy': fc.constant('PreemptLowerPriority'),
  'PodSpec.activeDeadlineSeconds': fc.integer({ min: 1, max: 100 }),
  'Container.restartPolicy': fc.constant('Always'),
  'ContainerResizePolicy.resourceName': fc.constantFrom('cpu', 'memory'),
  'ContainerResizePolicy.restartPolicy': fc.constantFrom('NotRequired', 'RestartContainer'),
  'OwnerReference.apiVersion': fc.constant('apps/v1'),
  'OwnerReference.kind': fc.constantFrom('ReplicaSet', 'DaemonSet'),
  'OwnerReference.uid': name,
  'PodSpec.hostnameOverride': name,
  'PodOS.name': fc.constantFrom('linux', 'windows'),
  'HostAlias.ip': fc.constantFrom('192.0.2.1', '2001:db8::1'),
  'PodReadinessGate.conditionType': fc.constant('example.com/ready'),
  'PodSchedulingGate.name': fc.constantFrom('example.com/gate', 'miroir.dev/mirror-ready'),
  'Sysctl.name': fc.constant('net.ipv4.ip_local_port_range'),
  'Toleration.effect': fc.constantFrom('NoSchedule', 'NoExecute', ''),
  'Toleration.operator': fc.constantFrom('Exists', 'Equal', ''),
  'NodeSelectorRequirement.key': fc.constantFrom('zone', 'miroir.dev/containerd'),
  topologyKey: fc.constantFrom('zone', 'kubernetes.io/hostname'),
  mountPath: fc.constantFrom('/a', '/b/c'),
};
/** What the apiserver writes, and nobody else may. */
const WITHOUT = new Set(['namespace', 'resourceVersion', 'managedFields'].map((field) => `ObjectMeta.${field}`));
const NEEDED = { Container: ['image'], EphemeralContainer: ['image'], PodReadinessGate: ['conditionType'] };
/** What has to be there with a field. */
const COMPANIONS: Readonly<Record<string, readonly string[]>> = { overhead: ['runtimeClassName'] };
/** What no new pod has: the apiserver drops it, sets it later, or has the feature switched off. */
const REFUSED = new Set([
  'metadata.deletionGracePeriodSeconds',
  'metadata.deletionTimestamp',
  'metadata.selfLink',
  'spec.ephemeralContainers',
  'spec.schedulingGroup',
]);

interface Shape {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly spec: Readonly<Record<string, unknown>>;
}

test('whatever pod of the API a real apiserver admits without us it admits with us, once as twice', async (t) => {
  const cluster = await createWebhookCluster(t);
  await cluster.startWebhook(0, ['--sidecar-image=registry.example/miroir:1']);
  await prepare(cluster);
  const { body } = await cluster.plane.call<{ readonly components: { readonly schemas: Schemas } }>(
    'GET',
    '/openapi/v3/api/v1',
  );
  const { schemas } = body.components;
  const arbitrary = schemaArbitrary(schemas, { words: WORDS, needed: NEEDED, without: WITHOUT });
  const fields = [
    ...arbitrary.properties(SPEC).map((field) => ['spec', field] as const),
    ...arbitrary.properties(METADATA).map((field) => ['metadata', field] as const),
  ];
  assert.ok(fields.length > 45, 'the apiserver no longer tells its schema as it did');
  const seed = Math.trunc(Math.random() * 2 ** 31);
  const gates = new Map<string, number>();
  const missing: string[] = [];
  let tried = 0;

  await eachAtOnce(fields, PODS_AT_ONCE, async ([part, field]) => {
    const spec = arbitrary.object(SPEC, [
      'containers',
      'serviceAccountName',
      ...(part === 'spec' ? [field, ...(COMPANIONS[field] ?? [])] : []),
    ]);
    const metadata = arbitrary.object(METADATA, ['name', ...(part === 'metadata' ? [field] : [])]);
    let had = 0;
    const property = fc.asyncProperty(fc.record({ metadata, spec }), wishes, async (drawn, wish) => {
      tried += 1;
      const found = await admittedWithoutUs(cluster, drawn as Shape);
      if (found === undefined) return;
      if (found.pod[part][field] !== undefined) had += 1;
      const gate = await expectAdmitted(cluster, found, wish);
      gates.set(gate, (gates.get(gate) ?? 0) + 1);
    });
    await fc.assert(property, { numRuns: PODS, seed });
    if (had === 0) missing.push(`${part}.${field}`);
  });

  t.diagnostic(`seed ${seed}: of ${tried} pods were admitted ${JSON.stringify(Object.fromEntries(gates))}`);
  assert.deepEqual(new Set(missing), REFUSED, `seed ${seed}: no pod with these fields was admitted`);
});

const wishes = fc.record({
  'miroir.dev/gate': fc.constantFrom('block', 'require', 'prefer', 'wait', 'off'),
  'miroir.dev/sidecar': fc.constantFrom('enabled', 'disabled'),
});

/** What pods can name, and a node for the gate to have something to choose. */
async function prepare(cluster: WebhookCluster): Promise<void> {
  const create = async (path: string, object: object) =>
    assert.equal((await cluster.plane.call('POST', path, object)).status, 201, path);
  const labels = { 'miroir.dev/containerd': 'compatible' };
  await create('/api/v1/nodes', { metadata: { name: 'compatible', labels } });
  await create('/apis/node.k8s.io/v1/runtimeclasses', {
    metadata: { name: 'sandbox' },
    handler: 'sandbox',
    overhead: { podFixed: { cpu: '10m' } },
  });
  await create('/apis/scheduling.k8s.io/v1/priorityclasses', { metadata: { name: 'ordinary' }, value: 7 });
  for (const mode of ['require', 'wait']) {
    const pod = {
      metadata: { name: 'asks', annotations: { 'miroir.dev/gate': mode } },
      spec: { containers: [{ name: 'app', image: 'app' }] },
    };
    const canBeHad = async () => (await cluster.createPod(pod, { query: DRY_RUN })).warnings.length === 0;
    await until(canBeHad, AbortSignal.timeout(PATIENCE_MS));
  }
}

interface Admitted {
  readonly shape: Shape;
  /** What the apiserver made of it. */
  readonly pod: Shape;
}

/** The pod, less what the apiserver refuses it for. */
async function admittedWithoutUs(cluster: WebhookCluster, drawn: Shape): Promise<Admitted | undefined> {
  let shape: Shape | undefined = drawn;
  for (let cuts = 0; cuts <= CUTS_MAX && shape !== undefined; cuts += 1) {
    const { status, body }: KubeAnswer<Shape & Refusal> = await cluster.createPod(shape, {
      namespace: STRANGER,
      query: DRY_RUN,
    });
    if (status === 201) return { shape, pod: body };
    shape = cutOutCauses(shape, body);
  }
  return undefined;
}

/** Resolves to the gate that it got. */
async function expectAdmitted(cluster: WebhookCluster, { shape, pod }: Admitted, wish: object): Promise<string> {
  const annotations = { ...(shape.metadata['annotations'] as object), ...wish };
  const asking = { ...shape, metadata: { ...shape.metadata, annotations } };

  const { status, body } = await cluster.createPod(asking, { namespace: TEAM, query: DRY_RUN });

  assert.equal(status, 201, `${body.message}`);
  assert.deepEqual(onlyWhatWasThere(body.spec, pod.spec), pod.spec, 'something of the pod was changed');
  const written = { ...body.metadata, namespace: undefined, resourceVersion: undefined, managedFields: undefined };
  const sameAgain = { metadata: written, spec: body.spec };
  const again = await cluster.createPod(sameAgain, { namespace: TEAM, query: DRY_RUN });
  // Of what matchLabelKeys stand for, the apiserver writes some each time, and refuses some that it wrote.
  const withoutUs = await cluster.createPod(sameAgain, { namespace: STRANGER, query: DRY_RUN });
  assert.equal(again.status, withoutUs.status, `${again.body.message}`);
  if (again.status !== 201) return 'never again';
  assert.deepEqual(again.body.spec, withoutUs.body.spec, 'the second time it was changed again');
  assert.deepEqual(again.body.metadata.annotations, written.annotations);
  const { 'miroir.dev/gate-applied': gate = 'none', 'miroir.dev/sidecar-applied': sidecar } = written.annotations;
  return sidecar === undefined ? gate : `${gate}, agent ${sidecar}`;
}
