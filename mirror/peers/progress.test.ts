import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createProgress } from './progress.ts';

/** What each part brings: bytes, or a pause of this side; and when it is called a stall. */
for (const { parts, stalledAt } of [
  { parts: [0, 0, 0, 0], stalledAt: 3 },
  { parts: [100, 0, 0, 0, 0], stalledAt: 4 },
  { parts: [0, 0, 0, 99, 0], stalledAt: 3 },
  { parts: [25, 25, 25, 25, 25, 25], stalledAt: undefined },
  { parts: [25, 25, 25, 25, 24], stalledAt: 4 },
  { parts: [0, 0, 100, 0, 0, 0, 0], stalledAt: 6 },
  { parts: [0, 'paused', 0, 0, 0, 0], stalledAt: 5 },
] as const) {
  test(`of ${parts.join(', ')} with 100 bytes wanted, ${stalledAt === undefined ? 'nothing' : `part ${stalledAt}`} is a stall`, () => {
    const progress = createProgress(100);

    const stalled = parts.findIndex((part) => {
      if (part === 'paused') progress.paused();
      else progress.arrived(part);
      return progress.isStalled();
    });

    assert.equal(stalled, stalledAt ?? -1);
  });
}
