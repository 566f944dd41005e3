import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { silentLogger } from '../../common/log.ts';
import type { Decision } from '../decision.ts';
import { type AdmissionDeps, createAdmissionApp } from './app.ts';

const TEAM = { name: 'team', labels: { 'miroir.dev/mirror': 'enabled' }, annotations: {} };
const POD = { metadata: { name: 'app' }, spec: { containers: [{ name: 'app', image: 'registry.example/app:v1' }] } };
const PODS = { group: '', version: 'v1', resource: 'pods' };

function start(t: TestContext, deps: Partial<AdmissionDeps> = {}) {
  const decisions: Decision[] = [];
  const app = createAdmissionApp({
    findNamespace: async () => TEAM,
    context: () => ({
      version: '1.2.3',
      ownNamespace: 'miroir',
      bypass: { block: undefined, require: undefined, wait: undefined },
      sidecar: undefined,
    }),
    metrics: { reviewed: (decision) => decisions.push(decision) },
    log: silentLogger,
    ...deps,
  });
  t.after(() => app.close());
  const send = async (body: string | object, query = '?timeout=3s') => {
    const headers = { 'content-type': 'application/json' };
    const payload = typeof body === 'string' ? body : JSON.stringify(body);
    const response = await app.inject({ method: 'POST', url: `/mutate-pods${query}`, headers, payload });
    return { status: response.statusCode, review: response.json() };
  };
  return { send, decisions };
}

function review(request: object = {}) {
  const shared = { uid: 'u-1', operation: 'CREATE', resource: PODS, namespace: 'team', object: POD };
  return { apiVersion: 'admission.k8s.io/v1', kind: 'AdmissionReview', request: { ...shared, ...request } };
}

test('a new pod gets a patch, and the audit log words', async (t) => {
  const { send, decisions } = start(t);

  const { status, review: answer } = await send(review());

  assert.equal(status, 200);
  assert.equal(answer.apiVersion, 'admission.k8s.io/v1');
  const { uid, allowed, patchType, patch, auditAnnotations } = answer.response;
  assert.deepEqual([uid, allowed, patchType], ['u-1', true, 'JSONPatch']);
  assert.deepEqual(auditAnnotations, { outcome: 'admitted', gate: 'block' });
  const paths = JSON.parse(Buffer.from(patch, 'base64').toString()).map(({ path }: { path: string }) => path);
  assert.deepEqual(paths, ['/metadata/annotations', '/spec/affinity']);
  assert.deepEqual(decisions, [{ outcome: 'admitted', gate: 'block' }]);
});

for (const { title, request, expected } of [
  { title: 'an update', request: { operation: 'UPDATE' }, expected: { outcome: 'skipped', reason: 'not-a-new-pod' } },
  {
    title: 'an ephemeral container',
    request: { subResource: 'ephemeralcontainers' },
    expected: { outcome: 'skipped', reason: 'not-a-new-pod' },
  },
  {
    title: 'a Deployment',
    request: { resource: { group: 'apps', version: 'v1', resource: 'deployments' } },
    expected: { outcome: 'skipped', reason: 'not-a-new-pod' },
  },
  { title: 'no object', request: { object: null }, expected: { outcome: 'failed', reason: 'pod-invalid' } },
  {
    title: 'annotations that are none',
    request: { object: { ...POD, metadata: { annotations: 7 } } },
    expected: { outcome: 'failed', reason: 'pod-invalid' },
  },
  { title: 'no namespace', request: { namespace: 7 }, expected: { outcome: 'failed', reason: 'review-invalid' } },
  { title: 'no resource', request: { resource: null }, expected: { outcome: 'failed', reason: 'review-invalid' } },
]) {
  test(`${title} is let through as it is`, async (t) => {
    const { send, decisions } = start(t);

    const { review: answer } = await send(review(request));

    const { allowed, patch, auditAnnotations } = answer.response;
    assert.deepEqual([allowed, patch, auditAnnotations], [true, undefined, expected]);
    assert.deepEqual(decisions, [expected]);
  });
}

test('a review of another version is let through in its own version', async (t) => {
  const { send } = start(t);

  const { review: answer } = await send({ ...review(), apiVersion: 'admission.k8s.io/v2' });

  assert.equal(answer.apiVersion, 'admission.k8s.io/v2');
  assert.deepEqual([answer.response.uid, answer.response.allowed], ['u-1', true]);
  assert.equal(answer.response.auditAnnotations.reason, 'review-invalid');
});

for (const { title, body, status } of [
  { title: 'no JSON', body: '{"apiVersion":', status: 400 },
  { title: 'no object', body: 'null', status: 400 },
  { title: 'an object without a uid', body: JSON.stringify(review({ uid: '' })), status: 400 },
  { title: 'JSON that is nested without end', body: '['.repeat(100_000), status: 400 },
  { title: '10 MB', body: JSON.stringify({ x: 'x'.repeat(10_000_000) }), status: 413 },
]) {
  test(`${title} is answered ${status}, which the failure policy lets through, and the next review is answered`, async (t) => {
    const { send } = start(t);

    assert.equal((await send(body)).status, status);

    assert.equal((await send(review())).status, 200);
  });
}

test('5,000 containers are no trouble', async (t) => {
  const { send } = start(t);
  const containers = Array.from({ length: 5000 }, (_, index) => ({ name: `c${index}`, image: 'registry.example/app' }));

  const { review: answer } = await send(review({ object: { ...POD, spec: { containers } } }));

  assert.equal(answer.response.auditAnnotations.gate, 'block');
});

test('a name that is a path in a patch stays a name', async (t) => {
  const { send } = start(t);
  const annotations = { '/spec/hostNetwork': 'true', 'a~1b': 'x', 'miroir.dev/gate': '","path":"/spec/hostNetwork' };

  const { review: answer } = await send(review({ object: { ...POD, metadata: { annotations } } }));

  const patch = JSON.parse(Buffer.from(answer.response.patch, 'base64').toString());
  assert.deepEqual(
    patch.map(({ path }: { path: string }) => path),
    ['/metadata/annotations/miroir.dev~1admitted', '/metadata/annotations/miroir.dev~1gate-applied', '/spec/affinity'],
  );
});

for (const { title, findNamespace } of [
  { title: 'is gone', findNamespace: async () => undefined },
  { title: 'cannot be asked for', findNamespace: () => Promise.reject(new Error('refused')) },
  { title: 'is not told in time', findNamespace: () => new Promise<never>(() => {}) },
]) {
  test(`a pod whose namespace ${title} is let through within the time that the apiserver has`, async (t) => {
    const { send } = start(t, { findNamespace });
    const startedAt = performance.now();

    const { review: answer } = await send(review(), '?timeout=1s');

    assert.ok(performance.now() - startedAt < 1000);
    assert.deepEqual(answer.response.auditAnnotations, { outcome: 'failed', reason: 'namespace-unknown' });
    assert.equal(answer.response.warnings.length, 1);
  });
}

test('a fault of ours lets the pod through, tells the user, and is logged', async (t) => {
  const lines: string[] = [];
  const { send } = start(t, {
    context: () => {
      throw new Error('boom');
    },
    log: { ...silentLogger, error: (message) => lines.push(message) },
  });

  const { review: answer } = await send(review());

  assert.deepEqual(answer.response.auditAnnotations, { outcome: 'failed', reason: 'fault' });
  assert.equal(answer.response.allowed, true);
  assert.equal(answer.response.warnings.length, 1);
  assert.equal(lines.length, 1);
});
