import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { OpenIngest } from '../store/store.ts';
import type { BodySink } from './body-sink.ts';
import { createSyncEarly, SYNC_BYTES } from './sync-early.ts';

const DIGEST = `sha256:${'a'.repeat(64)}` as Digest;
const OTHER = `sha256:${'b'.repeat(64)}` as Digest;

/** A disk that takes as long as it is told to, for what is being received of these; and a client that takes all at once. */
function start(receiving: readonly Digest[] = [DIGEST, OTHER]) {
  const asked: Digest[] = [];
  const syncs: Array<PromiseWithResolvers<void>> = [];
  let openCount = 0;
  const ingest = async (digest: Digest): Promise<OpenIngest | undefined> => {
    asked.push(digest);
    if (!receiving.includes(digest)) return undefined;
    openCount += 1;
    const file = {
      datasync: () => {
        const sync = Promise.withResolvers<void>();
        syncs.push(sync);
        return sync.promise;
      },
      close: async () => {
        openCount -= 1;
      },
    };
    return { digest, file } as unknown as OpenIngest;
  };
  const metrics = { syncSeconds: { startTimer: () => () => 0 } } as never;
  const syncEarly = createSyncEarly({ store: { ingest }, log: silentLogger, metrics });
  const gone = new AbortController();
  const sink: BodySink = {
    write: (_bytes, written) => written(),
    finish: () => {},
    cut: () => {},
    gone: gone.signal,
  };
  const during = (digest: Digest) => {
    const watched = syncEarly.during(digest, sink);
    return async (byteCount: number) => {
      watched.write(Buffer.allocUnsafe(byteCount), () => {});
      await new Promise((resolve) => setImmediate(resolve));
    };
  };
  return { during, asked, syncs, openCount: () => openCount, leave: () => gone.abort() };
}

test('what arrives is brought to disk whenever so much has come, and its file is closed after', async () => {
  const { during, syncs, openCount } = start();
  const take = during(DIGEST);

  await take(SYNC_BYTES - 1);
  assert.equal(syncs.length, 0);
  await take(1);
  assert.equal(syncs.length, 1);
  assert.equal(openCount(), 1);
  syncs[0]?.resolve();
  await take(SYNC_BYTES - 1);
  assert.equal(syncs.length, 1);
  assert.equal(openCount(), 0);
  await take(1);
  assert.equal(syncs.length, 2);
});

test('the disk is asked for one thing at a time, and for what came meanwhile after that', async () => {
  const { during, asked, syncs } = start();
  const [take, takeOther] = [during(DIGEST), during(OTHER)];

  await take(SYNC_BYTES);
  await take(SYNC_BYTES);
  await takeOther(SYNC_BYTES);
  assert.deepEqual(asked, [DIGEST]);
  syncs[0]?.resolve();
  await takeOther(0);
  await takeOther(0);

  assert.deepEqual(asked, [DIGEST, OTHER]);
});

test('what is not being received is not looked for again', async () => {
  const { during, asked } = start([]);
  const take = during(DIGEST);

  await take(SYNC_BYTES);
  await take(SYNC_BYTES);

  assert.deepEqual(asked, [DIGEST]);
});

test('a disk that fails is left to containerd to find', async () => {
  const { during, asked, syncs, openCount } = start();
  const take = during(DIGEST);

  await take(SYNC_BYTES);
  syncs[0]?.reject(Object.assign(new Error('input/output error'), { code: 'EIO' }));
  await take(SYNC_BYTES);

  assert.deepEqual(asked, [DIGEST]);
  assert.equal(openCount(), 0);
});

test('what a client did not wait for is not brought to disk', async () => {
  const { during, asked, leave } = start();
  const take = during(DIGEST);

  leave();
  await take(SYNC_BYTES);

  assert.deepEqual(asked, []);
});
