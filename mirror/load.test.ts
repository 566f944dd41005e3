import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createLoad } from './load.ts';

test('a delay beyond the bound makes it too busy, until it is well below', async (t) => {
  t.mock.timers.enable({ apis: ['setInterval'] });
  let ms = 20;
  const load = createLoad({ enable: () => true, disable: () => true, reset: () => {}, percentile: () => ms * 1e6 });
  await load.start(t.signal);
  t.after(() => load.stop());

  const told = [20, 250, 400, 250, 150, 90, 250].map((now) => {
    ms = now;
    t.mock.timers.tick(1000);
    return load.isTooHigh();
  });

  assert.deepEqual(told, [false, false, true, true, true, false, false]);
});

test('a process that blocks is found too busy', async (t) => {
  const load = createLoad();
  await load.start(t.signal);
  t.after(() => load.stop());
  assert.equal(load.isTooHigh(), false);

  for (const endsAt = Date.now() + 5000; Date.now() < endsAt && !load.isTooHigh(); await delay(1)) {
    for (const blockedUntil = Date.now() + 600; Date.now() < blockedUntil; );
  }

  assert.equal(load.isTooHigh(), true);
});
