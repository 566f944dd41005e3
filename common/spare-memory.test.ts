import assert from 'node:assert/strict';
import test from 'node:test';
import { createSpareMemory } from './spare-memory.ts';

test('what was given back is taken again', () => {
  const memory = createSpareMemory({ byteCount: 10, countMax: 2 });
  const first = memory.take();
  memory.give(first);

  assert.equal(memory.count, 1);
  assert.equal(memory.take(), first);
  assert.equal(memory.take().length, 10);
});

test('more than it may keep is left to the collector', () => {
  const memory = createSpareMemory({ byteCount: 10, countMax: 2 });
  for (const buffer of [memory.take(), memory.take(), memory.take()]) memory.give(buffer);

  assert.equal(memory.count, 2);
});

test('what nobody uses is given back to the system', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const memory = createSpareMemory({ byteCount: 10, countMax: 2 });
  for (const buffer of [memory.take(), memory.take()]) memory.give(buffer);

  t.mock.timers.tick(5_000);
  const afterAWhile = memory.count;
  t.mock.timers.tick(5_000);

  assert.deepEqual([afterAWhile, memory.count], [1, 0]);
});
