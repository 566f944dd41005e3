/** Three minutes of what `make soak` does for half an hour. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { countPulls, judgeSoak, soak } from '../soak/soak.ts';

const DURATION_MS = 3 * 60_000;
const SEED = Number(process.env['SOAK_SEED'] ?? Date.now() % 1_000_000);

test(`nodes that pull, remove and restart by chance, among faults, fail no pull and stay small, SOAK_SEED=${SEED}`, {
  timeout: 2 * DURATION_MS,
}, async (t) => {
  const report = await soak({ durationMs: DURATION_MS, seed: SEED }, t.signal);

  t.diagnostic(`${countPulls(report.counts)} pulls, the slowest ${Math.round(report.slowestPullMs)} ms`);
  const [first, last] = [report.witness.at(0), report.witness.at(-1)];
  t.diagnostic(
    `resident ${first?.residentBytes} then ${last?.residentBytes}, files ${first?.files} then ${last?.files}, and ${report.rest.at(-1)?.files} at rest`,
  );
  assert.deepEqual(judgeSoak(report), []);
});
