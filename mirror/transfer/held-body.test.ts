import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createHeldBody } from './held-body.ts';

test('what happens to a held body happens in its order when it is let go', () => {
  const seen: string[] = [];
  const body = createHeldBody();
  body.next(() => seen.push('before'));
  body.hold();
  body.next(() => seen.push('first'));
  body.next(() => seen.push('second'));
  assert.deepEqual(seen, ['before']);

  body.letGo();
  body.next(() => seen.push('after'));

  assert.deepEqual(seen, ['before', 'first', 'second', 'after']);
});

test('of a dropped body nothing happens, and what it held is given back', () => {
  const seen: string[] = [];
  const body = createHeldBody();
  const step = (name: string) =>
    body.next(
      () => seen.push(name),
      () => seen.push(`${name} dropped`),
    );
  body.hold();
  step('held');
  body.drop();
  step('late');
  body.letGo();

  assert.deepEqual(seen, ['held dropped', 'late dropped']);
});
