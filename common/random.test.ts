import assert from 'node:assert/strict';
import test from 'node:test';
import { createRandom } from './random.ts';

function take(seed: number, count: number): number[] {
  const random = createRandom(seed);
  return Array.from({ length: count }, random);
}

test('the same seed gives the same numbers, the next seed gives others', () => {
  assert.deepEqual(take(42, 100), take(42, 100));
  assert.equal(new Set([...take(42, 100), ...take(43, 100)]).size, 200);
});

for (const seed of [0, 1, 0x9e3779b9, 2 ** 32 - 1]) {
  test(`the numbers of seed ${seed} lie from 0 to below 1, as many in each tenth`, () => {
    const numbers = take(seed, 20_000);

    const tenths = Map.groupBy(numbers, (number) => Math.floor(number * 10));

    assert.equal(tenths.size, 10);
    for (const [tenth, { length }] of tenths) assert.ok(length > 1800 && length < 2200, `${length} in tenth ${tenth}`);
  });
}

test('seeds that are close start apart', () => {
  const firsts = Array.from({ length: 1000 }, (_, seed) => take(seed, 1)[0] as number);
  const mean = firsts.reduce((sum, number) => sum + number, 0) / firsts.length;

  assert.ok(mean > 0.45 && mean < 0.55, String(mean));
});
