import assert from 'node:assert/strict';
import test from 'node:test';
import type { GateApplied, SkipReason } from '../decision.ts';
import { type AdmissionContext, mutatePod } from './mutate-pod.ts';
import { parsePod } from './pod.ts';

const NOT_INCOMPATIBLE = { key: 'miroir.dev/containerd', operator: 'NotIn', values: ['incompatible'] };
const COMPATIBLE = { key: 'miroir.dev/containerd', operator: 'In', values: ['compatible'] };
const PREFERENCE = { weight: 1, preference: { matchExpressions: [COMPATIBLE] } };
const REQUIRED = '/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution';
const PREFERRED = '/spec/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution';

const CONTEXT: AdmissionContext = {
  namespace: { name: 'team', labels: { 'miroir.dev/mirror': 'enabled' }, annotations: {} },
  version: '1.2.3',
  ownNamespace: 'miroir',
  bypass: { block: undefined, require: undefined, wait: undefined },
  sidecar: undefined,
};

interface Parts {
  readonly metadata?: object;
  readonly spec?: object;
}

function mutate({ metadata = {}, spec = {} }: Parts, context: Partial<AdmissionContext> = {}) {
  const pod = parsePod({ metadata, spec: { containers: [{ name: 'app' }], ...spec } });
  assert.ok(pod);
  return mutatePod(pod, { ...CONTEXT, ...context });
}

function gated(mode: string): Parts {
  return { metadata: { annotations: { 'miroir.dev/gate': mode } } };
}

for (const { mode, affinity, gates } of [
  {
    mode: 'block',
    affinity: {
      requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [NOT_INCOMPATIBLE] }] },
      preferredDuringSchedulingIgnoredDuringExecution: [PREFERENCE],
    },
  },
  {
    mode: 'require',
    affinity: {
      requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: [{ matchExpressions: [COMPATIBLE] }] },
    },
  },
  { mode: 'prefer', affinity: { preferredDuringSchedulingIgnoredDuringExecution: [PREFERENCE] } },
  {
    mode: 'wait',
    affinity: { preferredDuringSchedulingIgnoredDuringExecution: [PREFERENCE] },
    gates: [{ name: 'miroir.dev/mirror-ready' }],
  },
  { mode: 'off', affinity: undefined },
] as const) {
  test(`gate mode ${mode} becomes what the scheduler understands`, () => {
    const { decision, patch, warnings } = mutate(gated(mode));

    assert.deepEqual(decision, { outcome: 'admitted', gate: mode });
    assert.deepEqual(warnings, []);
    const byPath = Object.fromEntries(patch.map(({ path, value }) => [path, value]));
    assert.deepEqual(byPath, {
      '/metadata/annotations/miroir.dev~1admitted': '1.2.3',
      '/metadata/annotations/miroir.dev~1gate-applied': mode,
      ...(affinity && { '/spec/affinity': { nodeAffinity: affinity } }),
      ...(gates && { '/spec/schedulingGates': gates }),
    });
  });
}

for (const { title, expected, parts, namespace } of [
  { title: 'block when nobody says anything', expected: 'block', parts: {} },
  { title: "the namespace's", expected: 'prefer', parts: {}, namespace: 'prefer' },
  { title: "the pod's before the namespace's", expected: 'off', parts: gated('off'), namespace: 'require' },
  {
    title: "the namespace's when the pod's is no mode",
    expected: 'require',
    parts: gated('blcok'),
    namespace: 'require',
  },
] as const) {
  test(`the gate mode is ${title}`, () => {
    const annotations: Record<string, string> = namespace === undefined ? {} : { 'miroir.dev/gate': namespace };

    const { decision } = mutate(parts, { namespace: { ...CONTEXT.namespace, annotations } });

    assert.deepEqual(decision, { outcome: 'admitted', gate: expected });
  });
}

test('a word that is no gate mode is warned of, without what could harm a terminal', () => {
  const { warnings } = mutate(gated('\u001b[31m"x"'));

  assert.deepEqual(warnings, [
    'miroir: the annotation miroir.dev/gate of the pod is "?[31m?x?", which is none of block, require, prefer, wait, off',
  ]);
});

const owner = (kind: string, controller: boolean) => ({ ownerReferences: [{ kind, name: 'owner', controller }] });

for (const { reason, parts, namespace } of [
  { reason: 'mirror-pod', parts: { metadata: { annotations: { 'kubernetes.io/config.mirror': 'x' } } } },
  { reason: 'our-own', parts: {}, namespace: 'miroir' },
  { reason: 'opted-out', parts: { metadata: { labels: { 'miroir.dev/mirror': 'disabled' } } } },
  { reason: 'daemonset', parts: { metadata: owner('DaemonSet', true) } },
  { reason: 'node-name-set', parts: { spec: { nodeName: 'n1' } } },
  { reason: 'system-critical', parts: { spec: { priorityClassName: 'system-node-critical' } } },
  { reason: 'windows', parts: { spec: { nodeSelector: { 'kubernetes.io/os': 'windows' } } } },
  { reason: 'windows', parts: { spec: { os: { name: 'windows' } } } },
] as const satisfies readonly { reason: SkipReason; parts: Parts; namespace?: string }[]) {
  test(`a pod is left as it is: ${reason} by ${JSON.stringify(namespace ?? parts)}`, () => {
    const mutation = mutate(parts, { namespace: { ...CONTEXT.namespace, name: namespace ?? 'team' } });

    assert.deepEqual(mutation, { decision: { outcome: 'skipped', reason }, patch: [], warnings: [] });
  });
}

test('a namespace that did not opt in is left alone, but for pods that ask for it themselves', () => {
  const namespace = { name: 'team', labels: {}, annotations: {} };

  const { decision } = mutate({}, { namespace });
  const asking = mutate({ metadata: { labels: { 'miroir.dev/mirror': 'enabled' } } }, { namespace });

  assert.deepEqual(decision, { outcome: 'skipped', reason: 'not-opted-in' });
  assert.deepEqual(asking.decision, { outcome: 'admitted', gate: 'block' });
});

test('the gate is in each of the alternatives that a pod accepts, and makes no empty one match', () => {
  const zone = { key: 'zone', operator: 'In', values: ['a'] };
  const field = { key: 'metadata.name', operator: 'In', values: ['n1'] };
  const terms = [{ matchExpressions: [zone] }, {}, { matchFields: [field] }, { matchExpressions: [] }];
  const nodeAffinity = {
    requiredDuringSchedulingIgnoredDuringExecution: { nodeSelectorTerms: terms },
    preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 9, preference: { matchExpressions: [zone] } }],
  };

  const { patch } = mutate({ spec: { affinity: { nodeAffinity } } });

  assert.deepEqual(
    patch.filter(({ path }) => path.startsWith('/spec')),
    [
      { op: 'add', path: `${REQUIRED}/nodeSelectorTerms/0/matchExpressions/-`, value: NOT_INCOMPATIBLE },
      { op: 'add', path: `${REQUIRED}/nodeSelectorTerms/2/matchExpressions`, value: [NOT_INCOMPATIBLE] },
      { op: 'add', path: `${PREFERRED}/-`, value: PREFERENCE },
    ],
  );
});

test('what cannot be had becomes a preference, and the user is told why', () => {
  const bypass = { block: 'no node is compatible', require: 'no node is compatible', wait: 'nobody lifts gates' };

  for (const [mode, why] of Object.entries(bypass)) {
    const { decision, patch, warnings } = mutate(gated(mode), { bypass });

    assert.deepEqual(decision, { outcome: 'admitted', gate: 'bypassed' });
    assert.deepEqual(warnings, [why]);
    const affinity = { nodeAffinity: { preferredDuringSchedulingIgnoredDuringExecution: [PREFERENCE] } };
    assert.deepEqual(patch.find(({ path }) => path === '/spec/affinity')?.value, affinity);
  }
});

for (const { title, annotation, expected } of [
  { title: 'that it lacks the affinity of', annotation: 'block', expected: 'block' },
  { title: 'that nobody asked for', annotation: 'off', expected: 'block' },
  { title: 'that there is not', annotation: '__proto__', expected: 'block' },
] as const satisfies readonly { title: string; annotation: string; expected: GateApplied }[]) {
  test(`a pod is not believed to have been admitted with a gate ${title}`, () => {
    const annotations = { 'miroir.dev/admitted': '1.2.3', 'miroir.dev/gate-applied': annotation };

    const { decision, patch } = mutate({ metadata: { annotations } });

    assert.deepEqual(decision, { outcome: 'admitted', gate: expected });
    assert.ok(patch.some(({ path }) => path === '/spec/affinity'));
  });
}

test('annotations that leave no room for ours are left as they are', () => {
  const annotations = { note: 'x'.repeat(256 * 1024 - 10) };

  const { decision, patch, warnings } = mutate({ metadata: { annotations } });

  assert.deepEqual([decision, patch], [{ outcome: 'skipped', reason: 'too-large' }, []]);
  assert.equal(warnings.length, 1);
});

test('thousands of alternatives are not made larger', () => {
  const term = { matchExpressions: [{ key: 'zone', operator: 'In', values: ['a'] }] };
  const required = { nodeSelectorTerms: Array.from({ length: 5000 }, () => term) };
  const nodeAffinity = { requiredDuringSchedulingIgnoredDuringExecution: required };

  const { decision } = mutate({ spec: { affinity: { nodeAffinity } } });

  assert.deepEqual(decision, { outcome: 'skipped', reason: 'too-large' });
});

for (const value of [
  undefined,
  null,
  [],
  'pod',
  {},
  { metadata: {}, spec: null },
  { metadata: { annotations: ['a'] }, spec: {} },
  { metadata: { annotations: { a: 1 } }, spec: {} },
  { metadata: { labels: 'a' }, spec: {} },
  { metadata: { ownerReferences: {} }, spec: {} },
  { metadata: {}, spec: { affinity: 'a' } },
  { metadata: {}, spec: { affinity: { nodeAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [] } } } },
  { metadata: {}, spec: { schedulingGates: ['a'] } },
]) {
  test(`is no pod: ${JSON.stringify(value)}`, () => {
    assert.equal(parsePod(value), undefined);
  });
}
