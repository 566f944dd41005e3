import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPeerMemory } from './peer-memory.ts';

for (const { title, answers, lateAfterMs } of [
  { title: 'before anybody answered', answers: [], lateAfterMs: 200 },
  { title: 'when all answer at once', answers: [1, 1, 1, 1], lateAfterMs: 30 },
  { title: 'when one answered slowly', answers: [100], lateAfterMs: 300 },
  { title: 'when all are slow', answers: [5000, 5000], lateAfterMs: 500 },
]) {
  test(`a peer is late after ${lateAfterMs} ms ${title}`, () => {
    const peers = createPeerMemory({ now: () => 0 });
    for (const ms of answers) peers.answered(ms);

    assert.equal(Math.round(peers.lateAfterMs()), lateAfterMs);
  });
}
