import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { MiroirError } from '../../common/errors.ts';
import { silentLogger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import { sha256 } from '../../test/conformance/store-image.ts';
import { createMemoryStore } from '../store/memory-store.ts';
import { createMemoryHub, createMemoryRouter } from '../swarm/memory.ts';
import { digestKey } from '../swarm/router.ts';
import { createBufferPool } from './buffer-pool.ts';
import type { FoundBlob } from './found-blob.ts';
import { createLocalContent } from './local-content.ts';
import type { BodyReceiver, PeerBody, PeerClient } from './peer-client.ts';
import { createPutOff } from './put-off.ts';
import { createTransfer } from './transfer.ts';

const BLOB = Buffer.alloc(2_000_000, 'right');
const DIGEST = sha256(BLOB);
/** Nobody has this. */
const FETCHED = `sha256:${'f'.repeat(64)}` as Digest;
const FETCHED_BYTES = 30_000_000;

/** A transfer, and peers of these names that say they have DIGEST; the client answers for them. */
async function start(t: TestContext, holders: readonly string[], client: Partial<PeerClient>) {
  const clock = { ms: 0 };
  const now = () => clock.ms;
  const hub = createMemoryHub();
  const routers = ['self', ...holders].map((name) => createMemoryRouter({ hub }, { peerId: name, address: name }));
  const [self, ...others] = routers as [(typeof routers)[number], ...typeof routers];
  for (const router of routers) await router.start(t.signal);
  for (const router of others) await router.advertise([{ key: digestKey(DIGEST) }], t.signal);
  const store = createMemoryStore();
  const count = { inc: () => {} };
  let banCount = 0;
  let tie = 0;
  const transfer = createTransfer({
    store,
    local: createLocalContent({ store, now }),
    router: self,
    client: client as PeerClient,
    pool: createBufferPool({ bytesMax: 0 }),
    kernelCopy: undefined,
    readNow: undefined,
    putOff: createPutOff(),
    log: silentLogger,
    metrics: { resumes: count, switches: count, left: count, cuts: count, bans: { inc: () => banCount++ } } as never,
    inherit: () => {},
    now,
    random: () => tie++, // Peers are asked in their order.
  });
  const wantedBy = (who: 'containerd' | 'another client', digest = DIGEST) => ({
    digest,
    registry: 'registry.example' as Registry,
    repository: 'team/app' as Repository,
    isForStore: who === 'containerd',
  });
  /** The transfer passes on a manifest, which says how large a layer is. */
  const readManifest = async (digest: Digest, size: number) => {
    const manifest = { schemaVersion: 2, config: {}, layers: [{ digest, size }] };
    const named = store.put(Buffer.from(JSON.stringify(manifest)));
    await transfer.manifest(wantedBy('containerd', named), t.signal);
  };
  return {
    transfer,
    wantedBy,
    bans: () => banCount,
    readManifest,
    /** containerd is sent to the registry for FETCHED: its first byte comes after so long, and all of it a second later. */
    fetch: async (firstByteMs: number) => {
      await readManifest(FETCHED, FETCHED_BYTES);
      assert.equal(await transfer.blob(wantedBy('containerd', FETCHED), undefined, t.signal), undefined);
      clock.ms += firstByteMs;
      transfer.begun(FETCHED);
      clock.ms += 1000;
      transfer.arrived(FETCHED);
      transfer.ended(FETCHED);
    },
  };
}

/** What is sent of some bytes, from an offset. */
function bodyOf(bytes: Buffer, start = 0, end = bytes.length): PeerBody {
  return {
    head: { sizeBytes: bytes.length, start, end },
    pipe: (receiver) => {
      receiver.chunk(bytes.subarray(start, end), () => {});
      receiver.end();
    },
    cancel: () => {},
  };
}

async function receive(blob: FoundBlob | undefined): Promise<Buffer> {
  const parts: Buffer[] = [];
  await blob?.send(
    { start: 0, end: blob.sizeBytes },
    {
      write: (bytes, written) => {
        parts.push(Buffer.from(bytes));
        written();
      },
      finish: () => {},
      cut: () => {},
      gone: new AbortController().signal,
    },
  );
  return Buffer.concat(parts);
}

for (const { who, kind, firstByteMs, waitsMs } of [
  { who: 'containerd', kind: 'blob', firstByteMs: undefined, waitsMs: 4_000 },
  { who: 'containerd', kind: 'manifest', firstByteMs: undefined, waitsMs: 4_000 },
  { who: 'containerd', kind: 'blob', firstByteMs: 1_000, waitsMs: 5_000 },
  { who: 'containerd', kind: 'manifest', firstByteMs: 1_000, waitsMs: 5_000 },
  { who: 'containerd', kind: 'blob', firstByteMs: 100, waitsMs: 3_000 },
  { who: 'another client', kind: 'blob', firstByteMs: 1_000, waitsMs: 3_000 },
  { who: 'another client', kind: 'manifest', firstByteMs: 1_000, waitsMs: 3_000 },
] as const) {
  const registry = `a registry that ${firstByteMs === undefined ? 'nobody knows' : `took ${firstByteMs} ms`}`;
  test(`${who} waits ${waitsMs} ms for the first byte of a ${kind} of ${registry}`, async (t) => {
    const asked = Promise.withResolvers<void>();
    const { transfer, fetch, wantedBy } = await start(t, ['silent'], {
      get: () => {
        asked.resolve();
        return new Promise(() => {});
      },
    });
    if (firstByteMs !== undefined) await fetch(firstByteMs);
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const wanted = wantedBy(who);
    const answer = kind === 'blob' ? transfer.blob(wanted, undefined, t.signal) : transfer.manifest(wanted, t.signal);
    let isAnswered = false;
    void answer.then(() => {
      isAnswered = true;
    });
    await asked.promise;
    const isAnsweredAfter = async (ms: number) => {
      t.mock.timers.tick(ms);
      await setImmediate();
      return isAnswered;
    };

    assert.deepEqual([await isAnsweredAfter(waitsMs - 1), await isAnsweredAfter(1)], [false, true]);
  });
}

/** containerd got wrong bytes, and asks again: who sent them is compared now, and so slow that the registry is faster by far. */
async function startSlowAudit(t: TestContext) {
  t.mock.timers.enable({ apis: ['setInterval'] });
  const clock = { ms: 0 };
  t.mock.method(performance, 'now', () => clock.ms);
  const wrong = Buffer.alloc(BLOB.length, 'wrong');
  const slow = Promise.withResolvers<BodyReceiver>();
  let askCount = 0;
  const { transfer, fetch, wantedBy, bans } = await start(t, ['suspect', 'other'], {
    get: async (address) => {
      if (address === 'other') return bodyOf(BLOB);
      askCount += 1;
      return askCount === 1 ? bodyOf(wrong) : { ...bodyOf(wrong), pipe: slow.resolve };
    },
  });
  await fetch(100);
  const pull = () => transfer.blob(wantedBy('containerd'), undefined, t.signal);
  await receive(await pull());
  const again = await pull();
  const receiver = await slow.promise;
  receiver.chunk(wrong.subarray(0, 1_000), () => {});
  for (let seconds = 0; seconds < 5; seconds += 1) {
    await setImmediate();
    clock.ms += 1000;
    t.mock.timers.tick(1000);
  }
  return { again, pull, bans, sendRest: () => receiver.chunk(wrong.subarray(1_000), () => {}) };
}

test('containerd is not left to the registry because who is compared is slow', async (t) => {
  const { again, pull } = await startSlowAudit(t);
  await again?.close();

  const onceMore = await pull();

  assert.deepEqual([again?.peer, onceMore?.peer], ['other', 'other']);
  await onceMore?.close();
});

test('who is compared is compared to the end, though the registry is faster', async (t) => {
  const { again, bans, sendRest } = await startSlowAudit(t);
  await again?.close();

  sendRest();

  assert.equal(bans(), 1);
});

test('the last bytes of a blob come from a peer that has as many bytes as was said', async (t) => {
  const said = Buffer.from('what was said');
  const longer = Buffer.from('more than was said');
  const asked: string[] = [];
  const { transfer, wantedBy } = await start(t, ['busy', 'longer', 'as long'], {
    head: async () => said.length,
    get: async (address, _request, start, end) => {
      asked.push(address);
      if (address === 'busy') throw new MiroirError('ERR_PEER_BUSY', 'it sends it to enough others');
      return bodyOf(address === 'longer' ? longer : said, start, end);
    },
  });

  const found = await transfer.blob(wantedBy('another client'), { last: 4 }, t.signal);

  assert.deepEqual(await receive(found), said.subarray(-4));
  assert.deepEqual([found?.sizeBytes, found?.peer], [said.length, 'as long']);
  assert.deepEqual(asked, ['busy', 'longer', 'as long']);
});

test('the last bytes of a blob are those of its manifest, whatever the first peer says', async (t) => {
  const longer = Buffer.concat([BLOB, Buffer.from('and more')]);
  const { transfer, wantedBy, readManifest } = await start(t, ['longer', 'right'], {
    head: async (address) => (address === 'longer' ? longer : BLOB).length,
    get: async (address, _request, begin, end) => bodyOf(address === 'longer' ? longer : BLOB, begin, end),
  });
  await readManifest(DIGEST, BLOB.length);

  const found = await transfer.blob(wantedBy('another client'), { last: 4 }, t.signal);

  assert.deepEqual(await receive(found), BLOB.subarray(-4));
  assert.deepEqual([found?.sizeBytes, found?.peer], [BLOB.length, 'right']);
});
