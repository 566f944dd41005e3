import assert from 'node:assert/strict';
import test from 'node:test';
import { missedPods, projectPod } from './pods.ts';

const SEEN = { 'miroir.dev/admitted': '1.2.3' };
const HELD = { schedulingGates: [{ name: 'example.com/other' }, { name: 'miroir.dev/mirror-ready' }] };

function project(metadata: object, spec: object = {}, namespace = 'team') {
  return projectPod(
    { metadata: { name: 'a', namespace, ...metadata }, spec } as Parameters<typeof projectPod>[0],
    'miroir',
  );
}

for (const { title, kept, isHeld, unseen } of [
  { title: 'a pod that admission saw', kept: project({ annotations: SEEN }), isHeld: undefined, unseen: undefined },
  { title: 'a pod that waits', kept: project({ annotations: SEEN }, HELD), isHeld: true, unseen: undefined },
  {
    title: 'a pod that nobody saw, wherever it runs',
    kept: project({}, { nodeName: 'n1' }),
    isHeld: false,
    unseen: 'namespace',
  },
  {
    title: 'a pod that was created for a node',
    kept: project({ managedFields: [{ fieldsV1: { 'f:spec': { 'f:nodeName': {} } } }] }, { nodeName: 'n1' }),
    isHeld: undefined,
    unseen: undefined,
  },
  {
    title: 'a pod that was bound to a node',
    kept: project({ managedFields: [{}, { fieldsV1: { 'f:spec': { 'f:containers': {} } } }] }, { nodeName: 'n1' }),
    isHeld: false,
    unseen: 'namespace',
  },
  {
    title: 'a pod that opted in by itself',
    kept: project({ labels: { 'miroir.dev/mirror': 'enabled' } }),
    isHeld: false,
    unseen: 'pod',
  },
  {
    title: 'a pod that opted out',
    kept: project({ labels: { 'miroir.dev/mirror': 'disabled' } }),
    isHeld: undefined,
    unseen: undefined,
  },
  {
    title: 'a pod of a DaemonSet',
    kept: project({ ownerReferences: [{ kind: 'DaemonSet', controller: true }] }),
    isHeld: undefined,
    unseen: undefined,
  },
  { title: 'a pod of ours', kept: project({}, {}, 'miroir'), isHeld: undefined, unseen: undefined },
  {
    title: 'a critical pod',
    kept: project({}, { priorityClassName: 'system-node-critical' }),
    isHeld: undefined,
    unseen: undefined,
  },
]) {
  test(`${title}: ${isHeld === undefined ? 'nothing is to be done about it' : `held ${isHeld}, unseen ${unseen}`}`, () => {
    assert.equal(kept?.isHeld, isHeld);
    assert.equal(kept?.unseen, unseen);
  });
}

test('pods are missed by what their namespace is now', () => {
  const [one, other] = [project({}), project({ labels: { 'miroir.dev/mirror': 'enabled' } })];
  assert.ok(one && other);
  const pods = new Map([
    ['team/a', one],
    ['team/b', other],
  ]);

  assert.deepEqual(
    missedPods(pods.entries(), () => false),
    [other],
  );
  assert.deepEqual(
    missedPods(pods.entries(), (name) => name === 'team'),
    [one, other],
  );
});
