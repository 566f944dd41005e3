import assert from 'node:assert/strict';
import test from 'node:test';
import { judgeBreaker } from './breaker.ts';

const nodes = (compatible: number, incompatible: number, unlabelled: number) => ({
  compatible,
  incompatible,
  unlabelled,
});

for (const { title, counts, block, require } of [
  {
    title: 'before the nodes are known nothing is forbidden',
    counts: undefined,
    block: 'nodes-unknown',
    require: 'nodes-unknown',
  },
  {
    title: 'a cluster that nobody looked at yet is open to block, which forbids nothing there',
    counts: nodes(0, 0, 9),
    block: undefined,
    require: 'no-compatible-node',
  },
  { title: 'one compatible node is enough', counts: nodes(1, 1, 0), block: undefined, require: undefined },
  {
    title: 'no compatible node is too few, also where some have no label',
    counts: nodes(0, 1, 9),
    block: 'no-compatible-node',
    require: 'no-compatible-node',
  },
  { title: 'half may be incompatible', counts: nodes(3, 5, 2), block: undefined, require: undefined },
  {
    title: 'more than half may not',
    counts: nodes(3, 6, 2),
    block: 'too-many-incompatible',
    require: 'too-many-incompatible',
  },
  {
    title: 'a cluster without nodes forbids nothing',
    counts: nodes(0, 0, 0),
    block: undefined,
    require: 'no-compatible-node',
  },
]) {
  test(title, () => {
    assert.deepEqual(judgeBreaker(counts, 0.5), { block, require });
  });
}
