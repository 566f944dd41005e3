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

test('what nobody uses is given back to the system, and is there to be used again', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const megabytes = () => process.memoryUsage.rss() / 1e6;
  const memory = createSpareMemory({ byteCount: 1_000_000, countMax: 100 });
  const untouchedMegabytes = megabytes();
  const taken = Array.from({ length: 100 }, () => memory.take().fill(1));
  const filledMegabytes = megabytes();
  for (const buffer of taken) memory.give(buffer);
  for (let step = 0; step < 50; step += 1) t.mock.timers.tick(100);
  const afterAWhile = memory.count;
  for (let step = 0; step < 50; step += 1) t.mock.timers.tick(100);
  const idleMegabytes = megabytes();
  const isAgain = Array.from({ length: 100 }, () => memory.take()).map((buffer) => taken.includes(buffer));

  assert.deepEqual([afterAWhile, memory.count], [50, 0]);
  assert.ok(filledMegabytes - untouchedMegabytes > 80, `${untouchedMegabytes} MB, filled ${filledMegabytes}`);
  assert.ok(filledMegabytes - idleMegabytes > 80, `${filledMegabytes} MB, idle ${idleMegabytes}`);
  assert.deepEqual(isAgain, Array(100).fill(true));
});

test('those who begin take what is there already, which V8 need not collect for', () => {
  const memory = createSpareMemory({ byteCount: 1_000_000, countMax: 20 });
  const before = process.memoryUsage().arrayBuffers;
  const taken = Array.from({ length: 20 }, () => memory.take());

  const grown = process.memoryUsage().arrayBuffers - before;
  assert.ok(grown < 1_000_000, `${taken.length} taken, ${grown} bytes more`);
});

test('what nobody uses is left to the collector where the system takes nothing back', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const memory = createSpareMemory({ byteCount: 10, countMax: 2, letGo: false });
  const taken = [memory.take(), memory.take()];
  for (const buffer of taken) memory.give(buffer);
  t.mock.timers.tick(5_000);
  t.mock.timers.tick(5_000);

  assert.equal(memory.count, 0);
  assert.ok(!taken.includes(memory.take()));
});
