import assert from 'node:assert/strict';
import test from 'node:test';
import { silentLogger } from '../../common/log.ts';
import type { KubeRequest } from '../kube/client.ts';
import { createGateLifter, decideLift } from './lift-gates.ts';
import type { GatePod } from './pods.ts';

for (const { title, waited, age, ready, lift } of [
  { title: 'a ready node is what it waits for', waited: 0, age: 0, ready: true, lift: 'ready' },
  { title: 'it waits as long as it may', waited: 99, age: 99, ready: false, lift: undefined },
  { title: 'who has seen it for long enough lets it go', waited: 100, age: 0, ready: false, lift: 'timeout' },
  { title: 'a leader that is new goes by its age', waited: 0, age: 100, ready: false, lift: 'timeout' },
  { title: 'a clock that is behind does not hold it', waited: 100, age: -1e9, ready: false, lift: 'timeout' },
  { title: 'a date that is none does not hold it', waited: 100, age: Number.NaN, ready: false, lift: 'timeout' },
] as const) {
  test(title, () => {
    assert.equal(decideLift(waited, age, ready, 100), lift);
  });
}

test('the time counts from when it was first seen', async (t) => {
  const clock = { now: 0 };
  const pod: GatePod = { uid: 'u', namespace: 'team', name: 'a', createdAt: 0, isHeld: true, unseen: undefined };
  const calls: KubeRequest[] = [];
  const reasons: string[] = [];
  const lifter = createGateLifter(
    {
      client: {
        call: async <T>(request: KubeRequest) => {
          calls.push(request);
          return {} as T;
        },
      },
      pods: { held: () => [pod] },
      isAnyReady: () => false,
      recordEvent: async (_subject, { reason }) => void reasons.push(reason),
      metrics: { lifted: (reason) => void reasons.push(reason) },
      log: silentLogger,
      now: () => clock.now,
      wallNow: () => 0,
    },
    100,
  );

  await lifter.round(t.signal);
  clock.now = 99;
  await lifter.round(t.signal);
  assert.deepEqual(calls, []);
  clock.now = 100;
  await lifter.round(t.signal);

  assert.deepEqual(
    calls.map(({ path }) => path),
    ['/api/v1/namespaces/team/pods/a'],
  );
  assert.deepEqual(reasons, ['timeout', 'timeout']);
});
