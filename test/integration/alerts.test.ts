/** The chart's alerts, by Prometheus' own tool: when each fires, and what it says then. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { CHART } from '../lab/cluster/helm.ts';
import { run } from '../lab/namespace.ts';

const ALERTS = path.join(CHART, 'files', 'alerts.yaml');
const CASES = path.join(import.meta.dirname, '..', 'fixtures', 'alerts', 'alerts.test.yaml');
const DEADLINE_MS = 60_000;

test('every alert fires when it should and not before, and says what is wrong', async (t) => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'alerts-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  for (const file of [ALERTS, CASES]) fs.copyFileSync(file, path.join(folder, path.basename(file)));
  const cases = fs.readFileSync(CASES, 'utf8');
  const names = [...fs.readFileSync(ALERTS, 'utf8').matchAll(/- alert: (\w+)/g)].map(([, name]) => name);
  assert.ok(names.length > 5);
  for (const name of names) assert.match(cases, new RegExp(`alertname: ${name}\n\\s+exp_alerts:`));
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);

  await run(['promtool', 'test', 'rules', path.join(folder, path.basename(CASES))], {}, signal);
});
