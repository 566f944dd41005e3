import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { GatePod } from './pods.ts';
import { createTeller } from './tell-changes.ts';

const FINE = { block: undefined, require: undefined };

/** So many pods that admission has missed. */
function pods(count: number): GatePod[] {
  return Array.from({ length: count }, (_, index) => ({
    uid: String(index),
    namespace: 'team',
    name: `p${index}`,
    createdAt: 0,
    isHeld: false,
    unseen: 'pod' as const,
  }));
}

test('missed pods are told once in a while, also those that were missed meanwhile', async (t) => {
  const told: string[] = [];
  let minutes = 0;
  const recordEvent = async (_subject: object, { message }: { message: string }) => void told.push(message);
  const teller = createTeller({ recordEvent, now: () => minutes * 60_000 }, 'miroir');

  for (const [at, missed] of [
    [0, 0],
    [1, 2],
    [2, 5],
    [12, 5],
    [23, 5],
    [24, 1],
    [35, 3],
  ] as const) {
    minutes = at;
    await teller.tell(FINE, pods(missed), t.signal);
  }

  assert.deepEqual(
    told.map((message) => message.split(',')[0]),
    ['2', '5', '3'].map((count) => `${count} pods that opted in run without the gate`),
  );
});
