import assert from 'node:assert/strict';
import { EventEmitter, on } from 'node:events';
import test from 'node:test';
import type { LogFields, Logger } from '../common/log.ts';
import { silentLogger } from '../common/log.ts';
import { type Digest, parseDigest } from '../common/oci/digest.ts';
import { parseImageReference, type TagReference } from '../common/oci/reference.ts';
import { createAdvertiser } from './advertiser.ts';
import type { StoreEvent } from './store/store.ts';
import { createMemoryHub, createMemoryRouter } from './swarm/memory.ts';
import { digestKey, type Key, tagKey } from './swarm/router.ts';

const ONE = parseDigest(`sha256:${'1'.repeat(64)}`) as Digest;
const TWO = parseDigest(`sha256:${'2'.repeat(64)}`) as Digest;
const TAG = parseImageReference('registry.test/app:v1') as TagReference;
const LISTED: StoreEvent = { type: 'listed' };

/** A node that tells what it is made to tell, and another that looks it up. */
async function startNode(t: test.TestContext) {
  const events = new EventEmitter();
  const hub = createMemoryHub();
  const node = createMemoryRouter({ hub }, { peerId: 'node', address: '127.0.0.1:1' });
  const other = createMemoryRouter({ hub }, { peerId: 'other', address: '127.0.0.1:2' });
  const logged: LogFields[] = [];
  const log: Logger = { ...silentLogger, info: (msg, fields) => logged.push({ msg, ...fields }) };
  const advertiser = createAdvertiser({
    router: node,
    log,
    metrics: { ociEvent: () => {}, held: () => {} },
    arrived: () => {},
    store: {
      async *watch(signal) {
        for await (const [event] of on(events, 'event', { signal })) {
          if (event instanceof Error) throw event;
          yield event as StoreEvent;
        }
      },
    },
  });
  const signal = AbortSignal.timeout(10_000);
  await node.start(signal);
  await other.start(signal);
  await advertiser.start(signal);
  t.after(async () => {
    await advertiser.stop();
    await node.stop();
    await other.stop();
  });
  const tell = (...told: (StoreEvent | Error)[]) => {
    for (const event of told) events.emit('event', event);
  };
  const find = (key: Key) => Array.fromAsync(other.lookup(key, { limit: 1 }, signal));
  const until = async (condition: () => boolean | Promise<boolean>) => {
    while (!(await condition())) {
      signal.throwIfAborted();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const isWatched = () => events.listenerCount('event') > 0;
  await until(isWatched);
  return { advertiser, tell, find, until, logged, isWatched };
}

test('what the node holds is found by others, and the node is ready once it was told', async (t) => {
  const { advertiser, tell, find, until } = await startNode(t);
  assert.equal(advertiser.isReady(), false);

  tell({ type: 'content-created', digest: ONE }, LISTED);
  await until(() => advertiser.isReady());

  assert.equal((await find(digestKey(ONE))).length, 1);
});

test('changes are logged as OCI events, the first listing is not', async (t) => {
  const { advertiser, tell, until, logged } = await startNode(t);
  tell({ type: 'content-created', digest: ONE }, LISTED);
  await until(() => advertiser.isReady());

  tell(
    { type: 'content-created', digest: TWO },
    { type: 'tag-created', tag: TAG, record: { digest: TWO, resolvedAtMs: 1 } },
    { type: 'tag-updated', tag: TAG, record: { digest: ONE, resolvedAtMs: 2 } },
    { type: 'content-deleted', digest: TWO },
  );
  await until(() => logged.length >= 4);

  assert.deepEqual(logged, [
    { msg: 'OCI event', key: TWO, type: 'CREATE' },
    { msg: 'OCI event', key: 'registry.test/app:v1', type: 'CREATE' },
    { msg: 'OCI event', key: 'registry.test/app:v1', type: 'UPDATE' },
    { msg: 'OCI event', key: TWO, type: 'DELETE' },
  ]);
});

test('what is deleted is withdrawn, and a tag carries its latest digest', async (t) => {
  const { tell, find, until } = await startNode(t);
  tell({ type: 'content-created', digest: ONE }, LISTED);
  await until(async () => (await find(digestKey(ONE))).length === 1);

  tell(
    { type: 'content-deleted', digest: ONE },
    { type: 'tag-created', tag: TAG, record: { digest: ONE, resolvedAtMs: 1 } },
    { type: 'tag-updated', tag: TAG, record: { digest: TWO, resolvedAtMs: 2 } },
  );
  await until(async () => (await find(digestKey(ONE))).length === 0);

  assert.equal((await find(tagKey(TAG)))[0]?.tag?.digest, TWO);
});

test('a store that fails is read again, and what it lost meanwhile is withdrawn', async (t) => {
  const { tell, find, until, isWatched } = await startNode(t);
  tell({ type: 'content-created', digest: ONE }, LISTED);
  await until(async () => (await find(digestKey(ONE))).length === 1);

  tell(new Error('the store went away'));
  await until(() => !isWatched());
  await until(isWatched);
  tell({ type: 'content-created', digest: TWO }, LISTED);

  await until(async () => (await find(digestKey(ONE))).length === 0);
  assert.equal((await find(digestKey(TWO))).length, 1);
});
