import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { describe, test } from 'node:test';
import { type Answer, ask, startTestMirror } from '../../test/conformance/oci-test-mirror.ts';
import { sha256 } from '../../test/conformance/store-image.ts';
import { createMemoryHub } from '../swarm/memory.ts';
import { digestKey } from '../swarm/router.ts';

const MANIFEST = Buffer.from('{"schemaVersion":2,"layers":[],"config":{"size":2}}');
/** Four buffers of the pool, so that they are reused on the way. */
const LARGE = randomBytes(12 * 1024 * 1024 + 12_345);
/** What of it has come while the rest is on its way. */
const ARRIVED_BYTES = 3_000_000;
const SMALL = randomBytes(1000);

for (const encryption of ['on', 'off'] as const) {
  describe(`a pull through a peer, encryption ${encryption}`, () => {
    test('gets a large blob, whole and from an offset', async (t) => {
      const { holder, asker } = await startPair(t);
      const digest = holder.store.put(LARGE);
      await holder.advertise();
      const url = `${asker.url}/v2/library/app/blobs/${digest}?ns=hub.example`;

      const whole = await ask(url);
      const rest = await ask(url, { headers: { range: 'bytes=1000000-' } });
      const middle = await ask(url, { headers: { range: 'bytes=5000000-5000009' } });
      const last = await ask(url, { headers: { range: 'bytes=-7' } });

      assert.equal(whole.status, 200);
      assert.ok(whole.body.equals(LARGE));
      assert.equal(rest.status, 206);
      assert.equal(rest.headers['content-range'], `bytes 1000000-${LARGE.length - 1}/${LARGE.length}`);
      assert.ok(rest.body.equals(LARGE.subarray(1_000_000)));
      assert.ok(middle.body.equals(LARGE.subarray(5_000_000, 5_000_010)));
      assert.ok(last.body.equals(LARGE.subarray(-7)));
    });

    test('gets small and empty blobs', async (t) => {
      const { holder, asker } = await startPair(t);
      const small = holder.store.put(SMALL);
      const empty = holder.store.put(Buffer.alloc(0));
      await holder.advertise();

      const smallAnswer = await ask(`${asker.url}/v2/library/app/blobs/${small}`);
      const emptyAnswer = await ask(`${asker.url}/v2/library/app/blobs/${empty}`);

      assert.ok(smallAnswer.body.equals(SMALL));
      assert.equal(emptyAnswer.status, 200);
      assert.equal(emptyAnswer.headers['content-length'], '0');
    });

    test('resolves a tag, and gets its manifest with its type', async (t) => {
      const { holder, asker } = await startPair(t);
      const digest = holder.store.put(MANIFEST);
      holder.store.name('registry.example/team/app:1.0', digest, Date.now());
      await holder.advertise();

      const head = await ask(`${asker.url}/v2/team/app/manifests/1.0?ns=registry.example`, { method: 'HEAD' });
      const byDigest = await ask(`${asker.url}/v2/registry.example/team/app/manifests/${digest}`);

      assert.equal(head.headers['docker-content-digest'], digest);
      assert.equal(head.headers['content-length'], String(MANIFEST.length));
      assert.equal(head.headers['content-type'], 'application/vnd.oci.image.manifest.v1+json');
      assert.ok(byDigest.body.equals(MANIFEST));
    });

    test('gets what the holder is receiving while it comes', async (t) => {
      const { arriving, got } = await askForArriving(t);

      arriving.write(LARGE.subarray(ARRIVED_BYTES));
      arriving.commit();

      assert.ok((await got.answer).body.equals(LARGE));
    });

    test('ends short, for the client to come back, when the holder receives no more', async (t) => {
      const { arriving, got, giveUp } = await askForArriving(t);

      giveUp();
      arriving.abort();

      const { isShort, body } = await got.answer;
      assert.equal(isShort, true);
      assert.ok(body.equals(LARGE.subarray(0, ARRIVED_BYTES)));
    });

    test('gets a manifest that the holder is receiving', async (t) => {
      const { holder, asker } = await startPair(t);
      const digest = sha256(MANIFEST);
      const arriving = holder.store.receive(digest, MANIFEST.length);
      await holder.router.claim(digestKey(digest), { offset: 0, patienceMs: 2_000 }, t.signal);

      const got = askFor(`${asker.url}/v2/library/app/manifests/${digest}`);
      arriving.write(MANIFEST);
      arriving.commit();

      assert.ok((await got.answer).body.equals(MANIFEST));
    });

    test('is sent on when the holder has it no more, having asked once', async (t) => {
      const { holder, asker } = await startPair(t);
      const digest = sha256(LARGE);
      await holder.router.advertise([{ key: digestKey(digest) }], t.signal);

      const { status } = await askFor(`${asker.url}/v2/library/app/blobs/${digest}`).answer;

      assert.equal(status, 404);
      const counted = await holder.metrics.getSingleMetric('miroir_peer_requests_total')?.get();
      assert.deepEqual(
        counted?.values.map(({ labels, value }) => ({ outcome: labels['outcome'], value })),
        [{ outcome: 'absent', value: 1 }],
      );
    });

    test('passes over a holder whose blob has another length than the node is about to receive', async (t) => {
      const { holder, asker } = await startPair(t);
      const digest = sha256(LARGE);
      const short = holder.store.receive(digest, LARGE.length - 9);
      short.write(LARGE.subarray(0, -9));
      short.commit();
      await holder.router.advertise([{ key: digestKey(digest) }], t.signal);
      const own = asker.store.receive(digest, LARGE.length);
      t.after(() => own.abort());

      const { status } = await askFor(`${asker.url}/v2/library/app/blobs/${digest}`).answer;

      assert.equal(status, 404);
    });

    test('tells a blob by HEAD', async (t) => {
      const { holder, asker } = await startPair(t);
      const digest = holder.store.put(SMALL);
      await holder.advertise();

      const head = await ask(`${asker.url}/v2/library/app/blobs/${digest}`, { method: 'HEAD' });

      assert.equal(head.status, 200);
      assert.equal(head.headers['content-length'], String(SMALL.length));
    });
  });

  /** LARGE, of which a part has come to the holder, and from there to the client. */
  async function askForArriving(t: import('node:test').TestContext) {
    const { holder, asker } = await startPair(t);
    const digest = sha256(LARGE);
    const arriving = holder.store.receive(digest, LARGE.length);
    await holder.router.claim(digestKey(digest), { offset: 0, patienceMs: 2_000 }, t.signal);
    arriving.write(LARGE.subarray(0, ARRIVED_BYTES));
    const got = askFor(`${asker.url}/v2/library/app/blobs/${digest}`);
    await got.atLeast(ARRIVED_BYTES);
    return { arriving, got, giveUp: () => holder.router.gaveUp([digestKey(digest)]) };
  }

  async function startPair(t: import('node:test').TestContext) {
    const hub = createMemoryHub();
    const holder = await startTestMirror(t, { name: 'holder', hub, encryption });
    const asker = await startTestMirror(t, { name: 'asker', hub, encryption });
    return { holder, asker };
  }
}

/** Asks as containerd does, and tells how much has come so far. */
function askFor(url: string): { readonly answer: Promise<Answer>; atLeast(byteCount: number): Promise<void> } {
  const waiting: Array<{ readonly byteCount: number; readonly resolve: () => void }> = [];
  let received = 0;
  const answer = ask(url, {
    headers: { 'user-agent': 'containerd/2.4.2' },
    progress: (byteCount) => {
      received = byteCount;
      for (const one of waiting) if (received >= one.byteCount) one.resolve();
    },
  });
  return {
    answer,
    atLeast: (byteCount) =>
      new Promise((resolve) => {
        if (received >= byteCount) resolve();
        else waiting.push({ byteCount, resolve });
      }),
  };
}
