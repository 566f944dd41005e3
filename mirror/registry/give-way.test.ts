import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Digest } from '../../common/oci/digest.ts';
import { ask, startTestMirror } from '../../test/conformance/oci-test-mirror.ts';
import { sha256 } from '../../test/conformance/store-image.ts';
import { createMemoryHub } from '../swarm/memory.ts';
import { digestKey } from '../swarm/router.ts';

const LAYERS = [1, 2, 3, 4].map((index) => Buffer.alloc(3_000_000, index));
const DIGESTS = LAYERS.map(sha256);
const AGENT = { 'user-agent': 'containerd/2.4.2' };

/** Two nodes that begin to receive the same layers: what each has of them is an empty file. */
async function startTwo(t: TestContext) {
  const hub = createMemoryHub();
  const leader = await startTestMirror(t, { name: 'leader', hub });
  const node = await startTestMirror(t, { name: 'node', hub });
  const arriving = DIGESTS.map((digest, index) => {
    node.store.receive(digest, LAYERS[index]?.length ?? 0);
    return leader.store.receive(digest, LAYERS[index]?.length ?? 0);
  });
  const lead = async (digests: readonly Digest[]) => {
    for (const digest of digests) {
      await leader.router.claim(digestKey(digest), { offset: 0, patienceMs: 5_000 }, t.signal);
    }
  };
  const pull = (digest: Digest | undefined, fields: Readonly<Record<string, string>> = {}) =>
    ask(`${node.url}/v2/library/app/blobs/${digest}`, { headers: { ...AGENT, ...fields } });
  return { arriving, lead, pull };
}

test('a layer that is waited for gives way to one that is to be fetched: a head and no bytes, and then all of it', {
  timeout: 20_000,
}, async (t) => {
  const { arriving, lead, pull } = await startTwo(t);
  await lead(DIGESTS.slice(0, 3));
  const followed = DIGESTS.slice(0, 3).map(async (digest, index) => ({ index, answer: await pull(digest) }));

  const toFetch = await pull(DIGESTS[3]);

  assert.equal(toFetch.status, 404);
  const { index, answer } = await Promise.race(followed);
  assert.deepEqual([answer.status, answer.isShort, answer.body.length], [200, true, 0]);
  assert.equal(answer.headers['content-length'], String(LAYERS[index]?.length));

  const again = pull(DIGESTS[index]);
  for (const [at, layer] of arriving.entries()) {
    layer.write(LAYERS[at] as Buffer);
    layer.commit();
  }
  assert.ok((await again).body.equals(LAYERS[index] as Buffer));
});

test('a node that fetches three layers puts a fourth off, and fetches it when it is asked a third time', async (t) => {
  const { pull } = await startTwo(t);
  for (const digest of DIGESTS.slice(0, 3)) assert.equal((await pull(digest)).status, 404);

  const answers = [await pull(DIGESTS[3]), await pull(DIGESTS[3]), await pull(DIGESTS[3])];

  assert.deepEqual(
    answers.map(({ status, isShort }) => [status, isShort]),
    [
      [200, true],
      [200, true],
      [404, false],
    ],
  );
});

test('a containerd that fetches in chunks gets no early end', async (t) => {
  const { pull } = await startTwo(t);
  assert.equal((await pull(DIGESTS[0], { range: 'bytes=0-' })).status, 404);
  for (const digest of DIGESTS.slice(1, 3)) assert.equal((await pull(digest)).status, 404);

  assert.equal((await pull(DIGESTS[3])).status, 404);
});
