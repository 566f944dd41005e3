import assert from 'node:assert/strict';
import test from 'node:test';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import { parseImageReference, type TagReference } from '../../common/oci/reference.ts';
import { createInheritedTags } from './inherited-tags.ts';
import type { Store, StoreEvent, TagRecord } from './store.ts';

const ONE = parseDigest(`sha256:${'1'.repeat(64)}`) as Digest;
const TWO = parseDigest(`sha256:${'2'.repeat(64)}`) as Digest;
const TAG = parseImageReference('registry.test/app:v1') as TagReference;
const MINUTE_MS = 60_000;
const NOW_MS = 100 * MINUTE_MS;

/** A store that knows one tag, behind a node that answered the tag from peers at NOW_MS. */
function startInherited(record: TagRecord, fromPeers: TagRecord) {
  const store: Store = {
    open: () => Promise.reject(new Error('nothing is opened')),
    sources: async () => [],
    resolve: async () => record,
    async *watch(): AsyncIterable<StoreEvent> {
      yield { type: 'tag-created', tag: TAG, record };
    },
    ingest: async () => undefined,
    ingestSize: async () => undefined,
    async *watchIngests() {},
  };
  const inherited = createInheritedTags({ store, now: () => NOW_MS });
  inherited.inherit(TAG, fromPeers);
  return inherited.store;
}

for (const { title, image, expected } of [
  {
    title: 'an image that follows an answer from peers keeps their time',
    image: { digest: ONE, resolvedAtMs: NOW_MS + MINUTE_MS },
    expected: 5,
  },
  {
    title: 'an image that was there before keeps its own time',
    image: { digest: ONE, resolvedAtMs: NOW_MS - 1 },
    expected: NOW_MS - 1,
  },
  {
    title: 'an image of another digest was resolved upstream',
    image: { digest: TWO, resolvedAtMs: NOW_MS + MINUTE_MS },
    expected: NOW_MS + MINUTE_MS,
  },
  {
    title: 'an image that comes long after the answer was resolved upstream',
    image: { digest: ONE, resolvedAtMs: NOW_MS + 31 * MINUTE_MS },
    expected: NOW_MS + 31 * MINUTE_MS,
  },
]) {
  test(title, async () => {
    const store = startInherited(image, { digest: ONE, resolvedAtMs: 5 });
    const signal = AbortSignal.timeout(1000);

    const resolved = await store.resolve(TAG, signal);
    const [event] = await Array.fromAsync(store.watch(signal));

    assert.equal(resolved?.resolvedAtMs, expected);
    assert.deepEqual(event, {
      type: 'tag-created',
      tag: TAG,
      record: { digest: image.digest, resolvedAtMs: expected },
    });
  });
}
