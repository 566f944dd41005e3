/** What a peer server sends of what its node is still receiving. */
import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import { startTestMirror, TEST_KEYS } from '../../test/conformance/oci-test-mirror.ts';
import { sha256 } from '../../test/conformance/store-image.ts';
import { createMemoryHub } from '../swarm/memory.ts';
import { createBufferPool } from '../transfer/buffer-pool.ts';
import { createPeerClient } from './client.ts';
import { createRecords } from './records.ts';

const APP = { registry: 'hub.example' as Registry, repository: 'library/app' as Repository };
const BYTES = Buffer.alloc(2_000_000, 'arriving');
const DIGEST = sha256(BYTES);

/** A node that is receiving the content, and what asks it for that. */
async function startArriving(t: TestContext, kind: 'blob' | 'manifest' = 'blob') {
  const { store, peerAddress, putOff } = await startTestMirror(t, { name: 'node', hub: createMemoryHub() });
  const arriving = store.receive(DIGEST, BYTES.length);
  t.after(() => arriving.abort());
  const pool = createBufferPool({ bytesMax: 4 * 1024 * 1024 });
  const client = createPeerClient(
    { pool, records: createRecords(), now: Date.now },
    { keys: TEST_KEYS, encryption: 'on', limits: { dialTimeoutMs: 3000 } },
  );
  t.after(() => client.close());
  const request = { kind, digest: DIGEST, ...APP } as const;
  return { putOff, get: () => client.get(peerAddress, request, 0, undefined, AbortSignal.timeout(5000)) };
}

test('tells of what it receives before its first byte, to four at a time; the next one is told that it is busy', async (t) => {
  const { get } = await startArriving(t);
  const bodies = await Promise.all([get(), get(), get(), get()]);

  await assert.rejects(get(), { code: 'ERR_PEER_BUSY' });

  for (const body of bodies) body.cancel();
});

test('who asks for a manifest that does not come is free to ask another one after a second', async (t) => {
  const { get } = await startArriving(t, 'manifest');
  const startedAt = performance.now();

  await assert.rejects(get(), { code: 'ERR_CONTENT_NOT_FOUND' });

  assert.ok(performance.now() - startedAt < 1_800);
});

test('who waits for more of what is put off is told at once that there is none', async (t) => {
  const { get, putOff } = await startArriving(t);
  const startedAt = performance.now();
  const body = await get();
  const failed = new Promise((resolve, reject) => {
    const end = () => reject(new Error('there was all of it'));
    body.pipe({ chunk: (_bytes, release) => release(), end, failed: resolve });
  });

  putOff.add(DIGEST);

  assert.ok((await failed) instanceof Error);
  assert.ok(performance.now() - startedAt < 1_500, 'sooner than one that hangs');
});
