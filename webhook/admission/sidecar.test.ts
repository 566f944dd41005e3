import assert from 'node:assert/strict';
import test from 'node:test';
import { type AdmissionContext, mutatePod } from './mutate-pod.ts';
import { parsePod } from './pod.ts';

const SIDECAR = {
  image: 'registry.example/miroir:1',
  mirrorPort: 29_986,
  resources: { requests: { cpu: '5m' }, limits: {} },
  flags: [],
};
const CONTEXT: AdmissionContext = {
  namespace: { name: 'team', labels: { 'miroir.dev/mirror': 'enabled' }, annotations: {} },
  version: '1.2.3',
  ownNamespace: 'miroir',
  bypass: { block: undefined, require: undefined, wait: undefined },
  sidecar: SIDECAR,
};

function mutate(spec: object, context: Partial<AdmissionContext> = {}, annotations: object = {}) {
  const metadata = { annotations: { 'miroir.dev/sidecar': 'enabled', ...annotations } };
  const pod = parsePod({ metadata, spec: { containers: [{ name: 'app' }], serviceAccountName: 'default', ...spec } });
  assert.ok(pod);
  const { decision, patch, warnings } = mutatePod(pod, { ...CONTEXT, ...context });
  assert.equal(decision.outcome, 'admitted');
  return {
    sidecar: decision.sidecar,
    warnings,
    values: Object.fromEntries(patch.map(({ path, value }) => [path, value])),
  };
}

test('an agent comes first, with a token, and says so on the pod', () => {
  const { sidecar, values } = mutate({ initContainers: [{ name: 'first' }], volumes: [{ name: 'data' }] });

  assert.equal(sidecar, 'injected');
  assert.equal(values['/metadata/annotations/miroir.dev~1sidecar-applied'], 'injected');
  const agent = values['/spec/initContainers/0'] as Record<string, unknown>;
  assert.deepEqual([agent['name'], agent['restartPolicy']], ['miroir-agent', 'Always']);
  assert.deepEqual(agent['resources'], SIDECAR.resources);
  assert.ok(values['/spec/volumes/-']);
});

test('a pod that has resources of its own for all containers gets an agent that asks for none', () => {
  const { values } = mutate({ resources: { limits: { memory: '1Gi' } } });

  const [agent] = values['/spec/initContainers'] as Record<string, unknown>[];
  assert.equal(agent?.['resources'], undefined);
});

for (const [expected, spec, context] of [
  ['host-network', { hostNetwork: true }, {}],
  ['not-offered', {}, { sidecar: undefined }],
  ['no-service-account', { serviceAccountName: undefined }, {}],
  ['name-taken', { volumes: [{ name: 'miroir-pod-token' }] }, {}],
  ['name-taken', { initContainers: [{ name: 'miroir-agent', restartPolicy: 'Always' }] }, {}],
  ['port-taken', { initContainers: [{ name: 'init', ports: [{ containerPort: 29_984 }] }] }, {}],
] as const) {
  test(`a pod gets no agent, and a warning: ${expected} by ${JSON.stringify(spec)}`, () => {
    const { sidecar, warnings, values } = mutate(spec, context);

    assert.equal(sidecar, expected);
    assert.equal(values['/metadata/annotations/miroir.dev~1sidecar-applied'], expected);
    assert.equal(warnings.length, 1);
    assert.deepEqual(
      Object.keys(values).filter((path) => /initContainers|volumes/.test(path)),
      [],
    );
  });
}

test('a pod is not believed to have an agent that it lacks', () => {
  const { values } = mutate({}, {}, { 'miroir.dev/sidecar-applied': 'injected' });

  assert.ok(values['/spec/initContainers']);
});

test('a word that is neither enabled nor disabled is warned of, and the namespace decides', () => {
  const namespace = { ...CONTEXT.namespace, annotations: { 'miroir.dev/sidecar': 'disabled' } };

  const { sidecar, warnings } = mutate({}, { namespace }, { 'miroir.dev/sidecar': 'yes' });

  assert.equal(sidecar, undefined);
  assert.match(warnings.join(), /is "yes", which is none of enabled, disabled/);
});
