import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Digest } from '../../common/oci/digest.ts';
import { parseDigest } from '../../common/oci/digest.ts';
import { type ClaimAnswer, createClaims, LEAD_SILENT_MS_MAX } from './claims.ts';
import { digestKey, type Want } from './router.ts';
import { hashKey } from './wire.ts';

const KEY = hashKey(digestKey(parseDigest(`sha256:${'a'.repeat(64)}`) as Digest));
const OTHER = hashKey(digestKey(parseDigest(`sha256:${'b'.repeat(64)}`) as Digest));

/** Who waits as long for the first byte as for more. */
function from(offset: number): Want {
  return { offset, patienceMs: LEAD_SILENT_MS_MAX };
}

function receivers(answer: ClaimAnswer): readonly string[] {
  return answer.role === 'lead' ? [] : answer.receivers;
}

test('the first leads, the others follow it', () => {
  const claims = createClaims();

  assert.equal(claims.claim(KEY, 'a', from(0), 0).role, 'lead');
  assert.deepEqual(claims.claim(KEY, 'b', from(0), 0), { role: 'follow', receivers: ['a'] });
  assert.equal(claims.claim(OTHER, 'b', from(0), 0).role, 'lead');
});

test('a leader that asks again still leads', () => {
  const claims = createClaims();
  claims.claim(KEY, 'a', from(0), 0);

  assert.equal(claims.claim(KEY, 'a', from(0), 1000).role, 'lead');
});

test('a herd is a tree of pairs', () => {
  const claims = createClaims();
  const parents = ['a', 'b', 'c', 'd', 'e', 'f', 'g'].map((peer) => receivers(claims.claim(KEY, peer, from(0), 0))[0]);

  assert.deepEqual(parents, [undefined, 'a', 'a', 'b', 'c', 'b', 'c']);
});

test('nobody is told to follow one that has no more than itself, but the leader', () => {
  const claims = createClaims();
  claims.claim(KEY, 'a', from(0), 0);
  claims.claim(KEY, 'b', from(0), 0);
  claims.claim(KEY, 'c', from(0), 0);
  claims.progress(KEY, 'b', 50, 100);
  claims.progress(KEY, 'c', 70, 100);

  assert.deepEqual(receivers(claims.claim(KEY, 'b', from(50), 200)), ['a', 'c']);
  assert.deepEqual(receivers(claims.claim(KEY, 'c', from(70), 200)), ['a']);
});

for (const { why, lose } of [
  { why: 'has gone', lose: (claims: ReturnType<typeof createClaims>) => claims.removePeer('a') },
  { why: 'gave up', lose: (claims: ReturnType<typeof createClaims>) => claims.release(KEY, 'a') },
]) {
  test(`when the leader ${why}, who asks first leads`, () => {
    const claims = createClaims();
    claims.claim(KEY, 'a', from(0), 0);
    claims.claim(KEY, 'b', from(0), 0);
    claims.claim(KEY, 'c', from(0), 0);

    lose(claims);

    assert.equal(claims.claim(KEY, 'c', from(10), 100).role, 'lead');
    assert.equal(receivers(claims.claim(KEY, 'b', from(10), 100))[0], 'c');
  });
}

test('a leader that shows nothing new for two seconds leads no more, one that does still leads', () => {
  const claims = createClaims();
  claims.claim(KEY, 'a', from(0), 0);
  claims.claim(OTHER, 'a', from(0), 0);

  claims.progress(OTHER, 'a', 1, 1000);

  assert.equal(claims.claim(KEY, 'b', from(0), LEAD_SILENT_MS_MAX + 1).role, 'lead');
  assert.equal(claims.claim(OTHER, 'b', from(0), LEAD_SILENT_MS_MAX + 1).role, 'follow');
});

test('a leader without a byte is waited for as long as who asks finds right', () => {
  const claims = createClaims();
  claims.claim(KEY, 'a', from(0), 0);

  assert.equal(claims.claim(KEY, 'b', { offset: 0, patienceMs: 5_000 }, 4_000).role, 'follow');
  assert.equal(claims.claim(KEY, 'c', { offset: 0, patienceMs: 0 }, 4_000).role, 'lead');
  assert.equal(claims.claim(KEY, 'd', { offset: 0, patienceMs: 0 }, 4_200).role, 'follow');
});

test('who gets on is followed before who has more, but gets no more', () => {
  const claims = createClaims();
  for (const peer of ['a', 'b', 'c', 'd']) claims.claim(KEY, peer, from(0), 0);
  claims.progress(KEY, 'b', 900_000, 100);
  for (const atMs of [500, 1_000, 1_500]) {
    claims.progress(KEY, 'a', atMs * 1000, atMs);
    claims.progress(KEY, 'c', atMs * 500, atMs);
  }

  // The leader already feeds two.
  assert.deepEqual(receivers(claims.claim(KEY, 'd', from(10), 1_600)), ['c', 'a', 'b']);
});

test('a leader that crawls is replaced', () => {
  const claims = createClaims();
  claims.claim(KEY, 'a', from(0), 0);
  claims.claim(KEY, 'b', from(0), 0);
  for (let atMs = 500; atMs <= 10_000; atMs += 500) claims.progress(KEY, 'a', atMs * 10, atMs);

  assert.equal(claims.claim(KEY, 'b', from(90_000), 10_000).role, 'lead');
});

test('a leader that gets on at a slow registry still leads', () => {
  const claims = createClaims();
  claims.claim(KEY, 'a', from(0), 0);
  claims.claim(KEY, 'b', from(0), 0);
  for (let atMs = 500; atMs <= 10_000; atMs += 500) claims.progress(KEY, 'a', atMs * 50, atMs);

  assert.equal(claims.claim(KEY, 'b', from(90_000), 10_000).role, 'follow');
});

test('without a leader who is behind follows who is ahead, for as long as that one gets on', () => {
  const claims = createClaims();
  for (const peer of ['a', 'b', 'c']) claims.claim(KEY, peer, from(0), 0);
  claims.progress(KEY, 'b', 50, 1000);
  claims.removePeer('a');

  assert.deepEqual(claims.claim(KEY, 'c', from(40), 1100), { role: 'follow', receivers: ['b'] });
  assert.equal(claims.claim(KEY, 'b', from(50), 1200).role, 'lead');
});

test('without a leader who is behind leads when who is ahead gets on no more', () => {
  const claims = createClaims();
  for (const peer of ['a', 'b', 'c']) claims.claim(KEY, peer, from(0), 0);
  claims.progress(KEY, 'b', 50, 1000);
  claims.removePeer('a');

  assert.equal(claims.claim(KEY, 'c', from(40), 1000 + LEAD_SILENT_MS_MAX + 1).role, 'lead');
});

test('who receives from elsewhere is followed', () => {
  const claims = createClaims();

  claims.progress(KEY, 'a', 5, 0);

  assert.deepEqual(claims.claim(KEY, 'b', from(0), 10), { role: 'follow', receivers: ['a'] });
});

test('one member has room for so many claims, and what it left silent makes room again', () => {
  const claims = createClaims();
  const keyOf = (index: number) => hashKey(digestKey(`sha256:${index.toString(16).padStart(64, '0')}` as Digest));
  for (let index = 0; index < 600; index += 1) claims.claim(keyOf(index), 'a', from(0), 0);

  assert.equal(claims.size, 512);
  assert.equal(claims.claim(keyOf(600), 'b', from(0), 0).role, 'lead');
  assert.equal(claims.size, 513);

  claims.claim(keyOf(601), 'a', from(0), 20_000);
  assert.equal(claims.claim(keyOf(601), 'b', from(0), 20_000).role, 'follow');
});

test('who asks for too much has what is silent looked for once a second, not each time', () => {
  const claims = createClaims();
  const keyOf = (index: number) => hashKey(digestKey(`sha256:${index.toString(16).padStart(64, '0')}` as Digest));
  for (let index = 0; index < 512; index += 1) claims.claim(keyOf(index), 'a', from(0), 0);

  const sizes = [9_500, 10_100, 10_600].map((atMs) => {
    claims.claim(keyOf(600), 'a', from(0), atMs);
    return claims.size;
  });

  assert.deepEqual(sizes, [512, 512, 1]);
});

test('who is silent is forgotten, and nothing is left of who has gone', () => {
  const claims = createClaims();
  claims.claim(KEY, 'a', from(0), 0);
  claims.claim(KEY, 'b', from(0), 0);

  assert.equal(claims.claim(KEY, 'c', from(0), 20_000).role, 'lead');
  claims.removePeer('c');
  assert.equal(claims.size, 0);
});

test('a leader that has all of it leads as long as it says so, whatever its store takes', () => {
  const claims = createClaims();
  claims.claim(KEY, 'a', from(0), 0);
  for (let atMs = 500; atMs <= 10_000; atMs += 500) claims.progress(KEY, 'a', 1000, atMs, true);

  assert.deepEqual(claims.claim(KEY, 'b', from(0), 10_100), { role: 'follow', receivers: ['a'] });
  assert.equal(claims.claim(KEY, 'b', from(0), 10_100 + LEAD_SILENT_MS_MAX).role, 'lead');
});
