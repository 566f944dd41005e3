import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Digest } from '../../common/oci/digest.ts';
import { parseDigest } from '../../common/oci/digest.ts';
import { createUnconfirmed } from './unconfirmed.ts';

const PEER = { peerId: 'p1', address: '10.0.0.1:29982' };

function digestOf(index: number): Digest {
  return parseDigest(`sha256:${index.toString(16).padStart(64, '0')}`) as Digest;
}

test('suspects who sent what never arrived', () => {
  const unconfirmed = createUnconfirmed({ now: () => 0 });

  unconfirmed.sent(digestOf(1), [PEER]);

  assert.deepEqual(unconfirmed.suspects(digestOf(1)), [PEER]);
  assert.deepEqual(unconfirmed.suspects(digestOf(2)), []);
});

test('suspects nobody of what arrived', () => {
  const unconfirmed = createUnconfirmed({ now: () => 0 });
  unconfirmed.sent(digestOf(1), [PEER]);

  unconfirmed.arrived(digestOf(1));

  assert.deepEqual(unconfirmed.suspects(digestOf(1)), []);
});

test('suspects nobody of what was compared and found right, until it is forgotten', () => {
  let now = 0;
  const unconfirmed = createUnconfirmed({ now: () => now });
  unconfirmed.sent(digestOf(1), [PEER]);

  unconfirmed.cleared(digestOf(1));
  unconfirmed.sent(digestOf(1), [PEER]);

  assert.deepEqual(unconfirmed.suspects(digestOf(1)), []);
  now = 11 * 60_000;
  unconfirmed.sent(digestOf(1), [PEER]);
  assert.deepEqual(unconfirmed.suspects(digestOf(1)), [PEER]);
});

test('forgets after ten minutes, and the oldest when there are too many', () => {
  let now = 0;
  const unconfirmed = createUnconfirmed({ now: () => now });
  for (let index = 0; index < 300; index += 1) unconfirmed.sent(digestOf(index), [PEER]);

  assert.deepEqual(unconfirmed.suspects(digestOf(0)), []);
  assert.deepEqual(unconfirmed.suspects(digestOf(299)), [PEER]);
  now = 10 * 60_000 + 1;
  assert.deepEqual(unconfirmed.suspects(digestOf(299)), []);
});
