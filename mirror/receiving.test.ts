import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { silentLogger } from '../common/log.ts';
import type { Digest } from '../common/oci/digest.ts';
import { sha256 } from '../test/conformance/store-image.ts';
import { createReceiving } from './receiving.ts';
import { createMemoryStore } from './store/memory-store.ts';
import { LEAD_SILENT_MS_MAX } from './swarm/claims.ts';
import { createMemoryHub, createMemoryRouter } from './swarm/memory.ts';
import { type Claim, digestKey } from './swarm/router.ts';

const BYTES = Buffer.alloc(1000, 'arriving');
const DIGEST = sha256(BYTES);

/** A node that receives, and another one that wants the same. */
async function start(t: TestContext) {
  const hub = createMemoryHub();
  const router = createMemoryRouter({ hub }, { peerId: 'node', address: '10.0.0.1:1' });
  const other = createMemoryRouter({ hub }, { peerId: 'other', address: '10.0.0.2:1' });
  const store = createMemoryStore();
  const told = new EventEmitter<{ readonly [event in 'begun' | 'ended']: [Digest] }>();
  const offsets: number[] = [];
  const receiving = createReceiving({
    store,
    router: {
      gaveUp: (keys) => router.gaveUp(keys),
      receiving: (receipts) => {
        offsets.push(...receipts.map(({ offset }) => offset));
        router.receiving(receipts);
      },
    },
    log: silentLogger,
    begun: (digest) => told.emit('begun', digest),
    ended: (digest) => told.emit('ended', digest),
  });
  for (const component of [router, other, receiving]) {
    await component.start(t.signal);
    t.after(() => component.stop());
  }
  const claim = () => other.claim(digestKey(DIGEST), { offset: 0, patienceMs: 2_000 }, t.signal);
  return { store, other, claim, told, offsets };
}

/** Asks as another node would, until the answer is as wanted; what it claimed itself it gives up each time. */
async function until(t: TestContext, { other, claim }: Awaited<ReturnType<typeof start>>, role: Claim['role']) {
  for (;;) {
    const answer = await claim();
    if (answer.role === role) return answer;
    other.gaveUp([digestKey(DIGEST)]);
    await delay(5, undefined, { signal: t.signal });
  }
}

test('tells the swarm of what arrives from its first byte on, and again when it is given up', {
  timeout: 10_000,
}, async (t) => {
  const node = await start(t);
  const arriving = node.store.receive(DIGEST, BYTES.length);

  arriving.write(BYTES.subarray(0, 10));

  const answer = await until(t, node, 'follow');
  assert.deepEqual(answer.role === 'follow' && answer.providers.map(({ address }) => address), ['10.0.0.1:1']);

  arriving.abort();
  await until(t, node, 'lead');
});

test('a node whose content has not begun to come is not followed unless it claimed it', {
  timeout: 10_000,
}, async (t) => {
  const node = await start(t);
  const arriving = node.store.receive(DIGEST, BYTES.length);
  t.after(() => arriving.abort());

  assert.equal((await node.claim()).role, 'lead');
});

test('does not tell of content before its first byte, unless that is late', { timeout: 10_000 }, async (t) => {
  const { store, offsets } = await start(t);
  const startedAt = performance.now();
  const arriving = store.receive(DIGEST, BYTES.length);
  t.after(() => arriving.abort());

  while (offsets.length === 0) await delay(5, undefined, { signal: t.signal });

  assert.deepEqual(offsets, [0]);
  assert.ok(performance.now() - startedAt > 300);
});

test('tells this node when the first bytes are there, and when no more will come', { timeout: 10_000 }, async (t) => {
  const { store, told } = await start(t);
  const [begun, ended] = (['begun', 'ended'] as const).map((name) => once(told, name, { signal: t.signal }));
  const arriving = store.receive(DIGEST, BYTES.length);

  arriving.write(BYTES.subarray(0, 10));
  assert.deepEqual(await begun, [DIGEST]);

  arriving.write(BYTES.subarray(10));
  arriving.commit();
  assert.deepEqual(await ended, [DIGEST]);
});

test('a node that has all of it and not yet in its store is followed, longer than one that gets no more of it', {
  timeout: 20_000,
}, async (t) => {
  const node = await start(t);
  const arriving = node.store.receive(DIGEST, BYTES.length);
  t.after(() => arriving.abort());
  arriving.write(BYTES);
  await until(t, node, 'follow');

  await delay(LEAD_SILENT_MS_MAX + 1_000, undefined, { signal: t.signal });

  assert.equal((await node.claim()).role, 'follow');
});
