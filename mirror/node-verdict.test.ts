import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { Registry } from 'prom-client';
import { silentLogger } from '../common/log.ts';
import type { FollowedEvent } from '../containerd/events.ts';
import type { Verdict, VerdictResult } from '../containerd/verdict/verdict.ts';
import { createNodeVerdict, createNodeVerdictMetrics } from './node-verdict.ts';

const verdictOf = (result: VerdictResult): Verdict => ({
  result,
  containerd: '2.4.2',
  distribution: undefined,
  reasons: [],
});

/** A keeper whose judge says what the test wants; `judged` resolves at the next judgement. */
function startKeeper(t: TestContext, judge: () => Verdict, watched: readonly string[] = []) {
  let events: (event: FollowedEvent) => void = () => {};
  let judgements = 0;
  let next = Promise.withResolvers<void>();
  const registry = new Registry();
  const keeper = createNodeVerdict({
    judge: async () => {
      judgements += 1;
      queueMicrotask(() => next.resolve());
      return { verdict: judge(), watched, configFile: 'config.toml', stamp: '' };
    },
    stampOf: async () => '',
    async *follow(signal) {
      while (!signal.aborted) {
        yield await new Promise<FollowedEvent>((resolve) => {
          events = resolve;
          signal.addEventListener('abort', () => resolve({ type: 'lost' }), { once: true });
        });
      }
    },
    log: silentLogger,
    metrics: createNodeVerdictMetrics(registry),
    now: () => 0,
  });
  t.after(() => keeper.stop());
  return {
    keeper,
    registry,
    judgements: () => judgements,
    emit: (event: FollowedEvent) => events(event),
    /** Resolves when the node was judged once more, and the verdict is kept. */
    judged: async () => {
      await next.promise;
      next = Promise.withResolvers();
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}

test('the verdict is unknown until the node is judged, and says so', async (t) => {
  const { keeper, judged } = startKeeper(t, () => verdictOf('compatible'));

  const before = keeper.current();
  await keeper.start(t.signal);
  await judged();

  assert.deepEqual([before.result, before.reasons[0]?.code, before.judgedAt], ['unknown', 'not-judged', undefined]);
  assert.deepEqual(keeper.current(), { ...verdictOf('compatible'), judgedAt: '1970-01-01T00:00:00.000Z' });
});

test('a containerd that was started again is judged again', async (t) => {
  let result: VerdictResult = 'compatible';
  const { keeper, judged, emit } = startKeeper(t, () => verdictOf(result));
  await keeper.start(t.signal);
  await judged();

  result = 'incompatible';
  emit({ type: 'subscribed' });
  await judged();

  assert.equal(keeper.current().result, 'incompatible');
});

test('a file that changes is judged again, and so is one that comes into a folder of imports', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-verdict-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  fs.mkdirSync(path.join(folder, 'conf.d'));
  const files = [path.join(folder, 'config.toml'), path.join(folder, 'conf.d')];
  const { keeper, judged, judgements } = startKeeper(t, () => verdictOf('compatible'), files);
  await keeper.start(t.signal);
  await judged();

  fs.writeFileSync(path.join(folder, 'config.toml'), '');
  await judged();
  fs.writeFileSync(path.join(folder, 'conf.d', '10.toml'), '');
  await judged();

  assert.equal(judgements(), 3);
});

test('an image that was pulled is judged while the verdict is unknown', async (t) => {
  let result: VerdictResult = 'unknown';
  const { keeper, judged, emit } = startKeeper(t, () => verdictOf(result));
  await keeper.start(t.signal);
  await judged();

  result = 'compatible';
  emit({ type: 'image-created', name: 'registry.example/app:v1' });
  await judged();

  assert.equal(keeper.current().result, 'compatible');
});

test('a judge that fails leaves a verdict that says so, and the mirror runs on', async (t) => {
  const { keeper, judged } = startKeeper(t, () => {
    throw new TypeError('of no use');
  });
  await keeper.start(t.signal);
  await judged();

  assert.deepEqual([keeper.current().result, keeper.current().reasons[0]?.code], ['unknown', 'fault']);
});

test('the metric is 1 for the verdict alone', async (t) => {
  const { keeper, judged, registry } = startKeeper(t, () => verdictOf('incompatible'));
  await keeper.start(t.signal);
  await judged();

  const text = await registry.metrics();

  assert.match(text, /^miroir_containerd_verdict\{result="incompatible"\} 1$/m);
  assert.match(text, /^miroir_containerd_verdict\{result="compatible"\} 0$/m);
});
