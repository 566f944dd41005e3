import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import { createFirstBytes, PATIENCE_UNKNOWN_MS } from './first-bytes.ts';

const NEAR = 'near.example' as Registry;
const FAR = 'far.example' as Registry;

function digestOf(index: number): Digest {
  return parseDigest(`sha256:${index.toString(16).padStart(64, '0')}`) as Digest;
}

/** Has a registry answer once after each of these times. */
function after(registry: Registry, tookMs: readonly number[]) {
  let atMs = 0;
  const firstBytes = createFirstBytes({ now: () => atMs });
  for (const [index, ms] of tookMs.entries()) {
    firstBytes.awaited(digestOf(index), registry);
    atMs += ms;
    firstBytes.came(digestOf(index));
  }
  return firstBytes;
}

for (const { tookMs, patienceMs } of [
  { tookMs: [], patienceMs: PATIENCE_UNKNOWN_MS },
  { tookMs: [10], patienceMs: 300 },
  { tookMs: [200], patienceMs: 800 },
  { tookMs: [600, 20], patienceMs: 2_280 },
  { tookMs: [100_000], patienceMs: 5_000 },
]) {
  test(`a registry that took ${tookMs.join(', ') || 'nobody knows how many'} ms is given ${patienceMs} ms`, () => {
    assert.equal(after(NEAR, tookMs).patienceMs(NEAR), patienceMs);
  });
}

test('a registry that was slow once is given less time with every faster answer', () => {
  const before = after(NEAR, [1_000]).patienceMs(NEAR);
  const later = after(NEAR, [1_000, ...Array.from({ length: 30 }, () => 50)]).patienceMs(NEAR);

  assert.ok(later < before / 2);
});

test('one registry says nothing about another', () => {
  assert.equal(after(NEAR, [10]).patienceMs(FAR), PATIENCE_UNKNOWN_MS);
});

test('the first who was sent counts, and content that nobody waited for does not', () => {
  let atMs = 0;
  const firstBytes = createFirstBytes({ now: () => atMs });
  firstBytes.awaited(digestOf(1), NEAR);
  atMs = 400;
  firstBytes.awaited(digestOf(1), NEAR);
  atMs = 500;
  firstBytes.came(digestOf(1));
  firstBytes.came(digestOf(2));

  assert.equal(firstBytes.patienceMs(NEAR), 2_000);
});

test('the lead at a slow registry is left for a moment to who has just fetched from there', () => {
  const team = { registry: NEAR, repository: 'team/app' as Repository };
  const slow = after(NEAR, [600]);

  assert.equal(slow.deferenceMs(team), 25);
  slow.led(team);
  assert.equal(slow.deferenceMs(team), 0);
  assert.equal(slow.deferenceMs({ registry: NEAR, repository: 'team/other' as Repository }), 25);
  assert.equal(after(NEAR, [60]).deferenceMs(team), 0);
  assert.equal(after(NEAR, []).deferenceMs(team), 0);
});
