import assert from 'node:assert/strict';
import test from 'node:test';
import { Counter, Registry } from 'prom-client';
import { createHealthApp, type ReadinessCheck } from './health-app.ts';

function startHealth(t: test.TestContext, checks: readonly ReadinessCheck[]) {
  const metrics = new Registry();
  new Counter({ name: 'miroir_example_total', help: 'An example.', registers: [metrics] }).inc(3);
  const app = createHealthApp({ checks, metrics, pages: { '/status': () => ({ members: [] }) } });
  t.after(() => app.close());
  return app;
}

test('names everything that is not ready, one line each', async (t) => {
  const app = startHealth(t, [
    { name: 'swarm', missing: () => 'no member was tried yet' },
    { name: 'store', missing: () => undefined },
    { name: 'registry', missing: () => 'draining' },
  ]);

  const response = await app.inject('/readyz');

  assert.equal(response.statusCode, 503);
  assert.equal(response.body, 'swarm: no member was tried yet\nregistry: draining\n');
});

test('is ready when nothing is missing, and alive whatever is', async (t) => {
  const ready = startHealth(t, [{ name: 'swarm', missing: () => undefined }]);
  const unready = startHealth(t, [{ name: 'swarm', missing: () => 'alone' }]);

  assert.equal((await ready.inject('/readyz')).statusCode, 200);
  assert.equal((await unready.inject('/livez')).statusCode, 200);
});

test('serves metrics in the text format and its pages as JSON', async (t) => {
  const app = startHealth(t, []);

  const metrics = await app.inject('/metrics');
  const status = await app.inject('/status');

  assert.match(metrics.body, /^miroir_example_total 3$/m);
  assert.match(String(metrics.headers['content-type']), /^text\/plain/);
  assert.deepEqual(status.json(), { members: [] });
});
