import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Digest } from '../../common/oci/digest.ts';
import { parseDigest } from '../../common/oci/digest.ts';
import { type ClaimAnswer, createClaims, LEAD_SILENT_MS_MAX } from './claims.ts';
import { digestKey } from './router.ts';
import { hashKey } from './wire.ts';

const KEY = hashKey(digestKey(parseDigest(`sha256:${'a'.repeat(64)}`) as Digest));
const OTHER = hashKey(digestKey(parseDigest(`sha256:${'b'.repeat(64)}`) as Digest));

function receivers(answer: ClaimAnswer): readonly string[] {
  return answer.role === 'lead' ? [] : answer.receivers;
}

test('the first leads, the others follow it', () => {
  const claims = createClaims();

  assert.equal(claims.claim(KEY, 'a', 0, 0).role, 'lead');
  assert.deepEqual(claims.claim(KEY, 'b', 0, 0), { role: 'follow', receivers: ['a'] });
  assert.equal(claims.claim(OTHER, 'b', 0, 0).role, 'lead');
});

test('a leader that asks again still leads', () => {
  const claims = createClaims();
  claims.claim(KEY, 'a', 0, 0);

  assert.equal(claims.claim(KEY, 'a', 0, 1000).role, 'lead');
});

test('a herd is a tree of pairs', () => {
  const claims = createClaims();
  const parents = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((peer) => receivers(claims.claim(KEY, peer, 0, 0))[0]);

  assert.deepEqual(parents, [undefined, 'a', 'a', 'b', 'c', 'b', 'c']);
});

test('nobody is told to follow one that has no more than itself, but the leader', () => {
  const claims = createClaims();
  claims.claim(KEY, 'a', 0, 0);
  claims.claim(KEY, 'b', 0, 0);
  claims.claim(KEY, 'c', 0, 0);
  claims.progress(KEY, 'b', 50, 100);
  claims.progress(KEY, 'c', 70, 100);

  assert.deepEqual(receivers(claims.claim(KEY, 'b', 50, 200)), ['a', 'c']);
  assert.deepEqual(receivers(claims.claim(KEY, 'c', 70, 200)), ['a']);
});

for (const { why, lose } of [
  { why: 'has gone', lose: (claims: ReturnType<typeof createClaims>) => claims.removePeer('a') },
  { why: 'gave up', lose: (claims: ReturnType<typeof createClaims>) => claims.release(KEY, 'a') },
]) {
  test(`when the leader ${why}, who asks first leads`, () => {
    const claims = createClaims();
    claims.claim(KEY, 'a', 0, 0);
    claims.claim(KEY, 'b', 0, 0);
    claims.claim(KEY, 'c', 0, 0);

    lose(claims);

    assert.equal(claims.claim(KEY, 'c', 10, 100).role, 'lead');
    assert.equal(receivers(claims.claim(KEY, 'b', 10, 100))[0], 'c');
  });
}

test('a leader that shows nothing new for two seconds leads no more, one that does still leads', () => {
  const claims = createClaims();
  claims.claim(KEY, 'a', 0, 0);
  claims.claim(OTHER, 'a', 0, 0);

  claims.progress(OTHER, 'a', 1, 1000);

  assert.equal(claims.claim(KEY, 'b', 0, LEAD_SILENT_MS_MAX + 1).role, 'lead');
  assert.equal(claims.claim(OTHER, 'b', 0, LEAD_SILENT_MS_MAX + 1).role, 'follow');
});

test('without a leader who is behind follows who is ahead, for as long as that one gets on', () => {
  const claims = createClaims();
  for (const peer of ['a', 'b', 'c']) claims.claim(KEY, peer, 0, 0);
  claims.progress(KEY, 'b', 50, 1000);
  claims.removePeer('a');

  assert.deepEqual(claims.claim(KEY, 'c', 40, 1100), { role: 'follow', receivers: ['b'] });
  assert.equal(claims.claim(KEY, 'b', 50, 1200).role, 'lead');
});

test('without a leader who is behind leads when who is ahead gets on no more', () => {
  const claims = createClaims();
  for (const peer of ['a', 'b', 'c']) claims.claim(KEY, peer, 0, 0);
  claims.progress(KEY, 'b', 50, 1000);
  claims.removePeer('a');

  assert.equal(claims.claim(KEY, 'c', 40, 1000 + LEAD_SILENT_MS_MAX + 1).role, 'lead');
});

test('who receives from elsewhere is followed', () => {
  const claims = createClaims();

  claims.progress(KEY, 'a', 5, 0);

  assert.deepEqual(claims.claim(KEY, 'b', 0, 10), { role: 'follow', receivers: ['a'] });
});

test('one member has room for so many claims, and what it left silent makes room again', () => {
  const claims = createClaims();
  const keyOf = (index: number) => hashKey(digestKey(`sha256:${index.toString(16).padStart(64, '0')}` as Digest));
  for (let index = 0; index < 600; index += 1) claims.claim(keyOf(index), 'a', 0, 0);

  assert.equal(claims.size, 512);
  assert.equal(claims.claim(keyOf(600), 'b', 0, 0).role, 'lead');
  assert.equal(claims.size, 513);

  claims.claim(keyOf(601), 'a', 0, 20_000);
  assert.equal(claims.claim(keyOf(601), 'b', 0, 20_000).role, 'follow');
});

test('who is silent is forgotten, and nothing is left of who has gone', () => {
  const claims = createClaims();
  claims.claim(KEY, 'a', 0, 0);
  claims.claim(KEY, 'b', 0, 0);

  assert.equal(claims.claim(KEY, 'c', 0, 20_000).role, 'lead');
  claims.removePeer('c');
  assert.equal(claims.size, 0);
});
