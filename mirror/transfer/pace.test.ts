import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createPace } from './pace.ts';

test('what waits gets its turn in the order it came, at the rate', async (t) => {
  const startedAt = performance.now();
  const pace = createPace({ now: () => performance.now() }, 1_000_000);
  const went: string[] = [];
  const wait = async (name: string) => {
    await pace.wait(100_000, t.signal);
    went.push(name);
    return performance.now() - startedAt;
  };

  const [a = 0, , c = 0, d = 0] = await Promise.all(['a', 'b', 'c', 'd'].map(wait));

  assert.deepEqual(went, ['a', 'b', 'c', 'd']);
  // 100 ms that were not used before may go at once, and timers may be a millisecond early.
  assert.ok(a < 90 && c >= 98 && d >= 198);
});

test('whoever left does not wait', async () => {
  const pace = createPace({ now: Date.now }, 100_000);
  const leaving = new AbortController();
  await pace.wait(1_000_000, leaving.signal);
  const waiting = pace.wait(1, leaving.signal);

  leaving.abort();

  await assert.rejects(waiting, { name: 'AbortError' });
});

test('fast uploads take large pieces, slow ones take turns', () => {
  assert.equal(createPace({ now: Date.now }, 100_000).pieceBytesMax, 16 * 1024);
  assert.equal(createPace({ now: Date.now }, 50_000_000).pieceBytesMax, 1_000_000);
});
