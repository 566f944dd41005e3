import assert from 'node:assert/strict';
import test from 'node:test';
import type { Digest } from '../common/oci/digest.ts';
import { parseDigest } from '../common/oci/digest.ts';
import { parseImageReference, type TagReference } from '../common/oci/reference.ts';
import { createHoldings } from './holdings.ts';

const ONE = parseDigest(`sha256:${'1'.repeat(64)}`) as Digest;
const TWO = parseDigest(`sha256:${'2'.repeat(64)}`) as Digest;
const TAG = parseImageReference('registry.test/app:v1') as TagReference;

test('content that is told again is no change', () => {
  const holdings = createHoldings({ keysMax: 10 });

  const first = holdings.apply({ type: 'content-created', digest: ONE });
  const second = holdings.apply({ type: 'content-created', digest: ONE });

  assert.deepEqual(first, [{ type: 'CREATE', entry: { key: ONE } }]);
  assert.deepEqual(second, []);
  assert.equal(holdings.digestCount, 1);
});

test('a tag that moves to another digest is an update, and so is one that was resolved again', () => {
  const holdings = createHoldings({ keysMax: 10 });
  holdings.apply({ type: 'tag-created', tag: TAG, record: { digest: ONE, resolvedAtMs: 1 } });

  const moved = holdings.apply({ type: 'tag-updated', tag: TAG, record: { digest: TWO, resolvedAtMs: 2 } });
  const refreshed = holdings.apply({ type: 'tag-updated', tag: TAG, record: { digest: TWO, resolvedAtMs: 3 } });
  const again = holdings.apply({ type: 'tag-updated', tag: TAG, record: { digest: TWO, resolvedAtMs: 3 } });

  assert.deepEqual(
    [moved, refreshed, again].map((changes) => changes.map(({ type }) => type)),
    [['UPDATE'], ['UPDATE'], []],
  );
  assert.equal(holdings.tagCount, 1);
});

test('what a new listing does not name is deleted when the listing ends', () => {
  const holdings = createHoldings({ keysMax: 10 });
  holdings.apply({ type: 'content-created', digest: ONE });
  holdings.apply({ type: 'tag-created', tag: TAG, record: { digest: ONE, resolvedAtMs: 1 } });
  holdings.relist();
  holdings.apply({ type: 'content-created', digest: TWO });

  const changes = holdings.apply({ type: 'listed' });

  assert.deepEqual(changes, [
    { type: 'DELETE', entry: { key: ONE } },
    { type: 'DELETE', entry: { key: 'registry.test/app:v1' } },
  ]);
  assert.deepEqual([holdings.digestCount, holdings.tagCount], [1, 0]);
});

test('deleting what is not held is no change', () => {
  const holdings = createHoldings({ keysMax: 10 });

  assert.deepEqual(holdings.apply({ type: 'content-deleted', digest: ONE }), []);
  assert.deepEqual(holdings.apply({ type: 'tag-deleted', tag: TAG }), []);
});

test('leaves out what goes over the limit and says so', () => {
  const holdings = createHoldings({ keysMax: 1 });
  holdings.apply({ type: 'content-created', digest: ONE });

  const over = holdings.apply({ type: 'content-created', digest: TWO });

  assert.deepEqual(over, []);
  assert.equal(holdings.isFull, true);
  assert.equal(holdings.digestCount, 1);
});
