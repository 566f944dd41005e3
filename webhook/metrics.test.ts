import assert from 'node:assert/strict';
import test from 'node:test';
import { Registry } from 'prom-client';
import { FAIL_REASONS } from './decision.ts';
import { createWebhookMetrics } from './metrics.ts';

test('every way to fail is 0 before it happens, so that its first time is an increase', async () => {
  const registry = new Registry();

  createWebhookMetrics(registry);

  const text = await registry.metrics();
  for (const word of FAIL_REASONS)
    assert.match(text, new RegExp(`^miroir_admissions_total\\{outcome="failed",word="${word}"\\} 0$`, 'm'));
});
