import assert from 'node:assert/strict';
import test from 'node:test';
import { thinkingTimeMs } from './review-timeout.ts';

for (const { timeout, expected } of [
  { timeout: '3s', expected: 2750 },
  { timeout: '500ms', expected: 250 },
  { timeout: '1m0s', expected: 29_750 },
  { timeout: '1.5s', expected: 1250 },
  { timeout: '100ms', expected: 0 },
  { timeout: '3', expected: 2000 },
  { timeout: 's', expected: 2000 },
  { timeout: '-3s', expected: 2000 },
  { timeout: '3s; drop', expected: 2000 },
  { timeout: undefined, expected: 2000 },
  { timeout: ['1s', '2s'], expected: 2000 },
]) {
  test(`?timeout=${JSON.stringify(timeout)} leaves ${expected} ms to think`, () => {
    assert.equal(thinkingTimeMs(timeout), expected);
  });
}
