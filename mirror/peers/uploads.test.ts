import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Digest } from '../../common/oci/digest.ts';
import { createUploads } from './uploads.ts';

const digest = (digit: string) => `sha256:${digit.repeat(64)}` as Digest;

test('one blob goes to so many at once, and to the next when one has ended', () => {
  const uploads = createUploads({ now: Date.now }, { perBlobMax: 2, max: 10 });
  const first = uploads.begin(digest('a'), 'one');
  assert.ok(first && uploads.begin(digest('a'), 'two'));

  assert.equal(uploads.begin(digest('a'), 'three'), undefined);
  assert.ok(uploads.begin(digest('b'), 'three'));

  first();
  assert.ok(uploads.begin(digest('a'), 'three'));
});

test('one peer gets so much at once, and leaves the rest for others', () => {
  const uploads = createUploads({ now: Date.now }, { perBlobMax: 64, max: 100 });
  const mine = Array.from({ length: 20 }, () => uploads.begin(digest('a'), 'greedy'));

  assert.equal(mine.filter(Boolean).length, 16);
  assert.ok(uploads.begin(digest('a'), 'modest'));
});

test('all together are so many', () => {
  const uploads = createUploads({ now: Date.now }, { perBlobMax: 64, max: 3 });
  const begun = ['a', 'b', 'c', 'd'].map((digit) => uploads.begin(digest(digit), digit));

  assert.deepEqual(begun.map(Boolean), [true, true, true, false]);
});

test('who has had a part of a blob gets the next one at once, whoever came meanwhile', () => {
  const clock = { ms: 0 };
  const uploads = createUploads({ now: () => clock.ms }, { perBlobMax: 1, max: 10 });
  uploads.begin(digest('a'), 'one')?.();
  assert.ok(uploads.begin(digest('a'), 'two'));

  clock.ms = 250;
  const next = uploads.begin(digest('a'), 'one');
  assert.ok(next);
  assert.equal(uploads.begin(digest('a'), 'one'), undefined);
  next();

  clock.ms = 501;
  assert.equal(uploads.begin(digest('a'), 'one'), undefined);
});
