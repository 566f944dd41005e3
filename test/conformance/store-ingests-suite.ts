import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { hasCode } from '../../common/errors.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { IngestEvent, OpenIngest, Store } from '../../mirror/store/store.ts';
import { type FollowedEvents, followEvents } from './follow-events.ts';
import { makeImage, sha256 } from './store-image.ts';
import { type StoreHarness, watch } from './store-suite.ts';

const MIB = 1024 * 1024;
/** More than three of the megabytes that containerd writes at once. */
const LAYER_BYTES = 3 * MIB + 1000;
/** A commit on a busy machine takes what its disk takes. */
const DEADLINE_MS = 15_000;
/** What is cancelled is told to those who follow it within this. */
const ABORT_MS_MAX = 2_000;

/** What every Store does about what is arriving. */
export function testIngests(kind: string, create: (t: TestContext) => Promise<StoreHarness>): void {
  async function startReceiving(t: TestContext, seed: string) {
    const harness = await create(t);
    const { store, receive } = harness;
    const image = makeImage(seed, LAYER_BYTES);
    const bytes = image.blobs.get(image.layer) as Buffer;
    await watch(t, store).until(({ type }) => type === 'listed');
    const news = watchIngests(t, store);
    const receiving = await receive(image);
    await news.until((event) => event.type === 'ingest-started' && event.digest === image.layer);
    return { ...harness, image, bytes, news, receiving };
  }

  test(`${kind} store lets several read what arrives, as it arrives, until it is whole`, async (t) => {
    const { store, image, bytes, news, receiving } = await startReceiving(t, 'arriving');
    const signal = AbortSignal.timeout(DEADLINE_MS);
    assert.equal(await store.ingestSize(image.layer, signal), bytes.length);
    const followers = [await openArriving(t, store, image.layer), await openArriving(t, store, image.layer)];

    for (const end of [MIB, 3 * MIB]) {
      await receiving.sendUntil(end);
      for (const ingest of followers) {
        assert.equal(ingest.sizeBytes, bytes.length);
        assert.ok(ingest.availableBytes < end);
        await readUntil(ingest, bytes, end, signal);
      }
    }
    const late = await openArriving(t, store, image.layer);
    assert.equal(late.availableBytes, 3 * MIB);
    await receiving.finish();

    for (const ingest of [...followers, late]) {
      assert.equal(await ingest.grown(3 * MIB, signal), bytes.length);
      assert.equal(await ingest.grown(bytes.length, signal), bytes.length, 'there is no more to wait for');
      assert.equal(sha256(await readAll(ingest)), image.layer);
    }
    await news.until((event) => event.type === 'ingest-ended' && event.digest === image.layer && event.committed);
  });

  test(`${kind} store has content at every moment from its first byte on: arriving, or whole`, async (t) => {
    const { store, image, bytes, receiving } = await startReceiving(t, 'seamless');
    const signal = AbortSignal.timeout(DEADLINE_MS);
    let isWhole = false;
    let looks = 0;

    const finishing = receiving.finish();
    while (!isWhole) {
      const content = await openEither(store, image.layer, signal);
      looks += 1;
      await content.file.close();
      isWhole = !('grown' in content);
      assert.equal(content.sizeBytes, bytes.length);
    }
    await finishing;

    assert.ok(looks > 0);
  });

  test(`${kind} store tells those who follow that a pull was cancelled`, async (t) => {
    const { store, image, bytes, news, receiving } = await startReceiving(t, 'cancelled');
    const ingest = await openArriving(t, store, image.layer);
    await receiving.sendUntil(2 * MIB);
    await readUntil(ingest, bytes, 2 * MIB, t.signal);
    const next = ingest.grown(2 * MIB, AbortSignal.timeout(DEADLINE_MS));

    const cancelledAt = performance.now();
    await receiving.cancel();

    assert.equal(await next, 'aborted');
    const tookMs = performance.now() - cancelledAt;
    t.diagnostic(`told after ${tookMs.toFixed(1)} ms`);
    assert.ok(tookMs <= ABORT_MS_MAX, `told after ${tookMs} ms`);
    assert.equal(await ingest.grown(MIB, t.signal), 2 * MIB, 'what came stays readable');
    await news.until((event) => event.type === 'ingest-ended' && event.digest === image.layer && !event.committed);
    assert.equal(await store.ingest(image.layer, t.signal), undefined);
  });

  test(`${kind} store follows what is pulled again after it was cancelled`, async (t) => {
    const { store, image, bytes, news, receiving, receive } = await startReceiving(t, 'again');
    const given = await openArriving(t, store, image.layer);
    await receiving.sendUntil(MIB);
    await readUntil(given, bytes, MIB, t.signal);
    await receiving.cancel();
    const { length } = await news.until((event) => event.type === 'ingest-ended' && event.digest === image.layer);

    const again = await receive(image);
    await again.sendUntil(2 * MIB);
    await news.until((event) => event.type === 'ingest-started' && event.digest === image.layer, length);
    const ingest = await openArriving(t, store, image.layer);
    await again.finish();

    await readUntil(ingest, bytes, bytes.length, AbortSignal.timeout(DEADLINE_MS));
  });

  test(`${kind} store gives up waiting for what hangs when it is told to`, async (t) => {
    const { store, image } = await startReceiving(t, 'hanging');
    const ingest = await openArriving(t, store, image.layer);
    const stalled = new AbortController();
    const reason = new Error('stalled');

    const next = ingest.grown(0, stalled.signal);
    stalled.abort(reason);

    await assert.rejects(next, reason);
    await assert.rejects(ingest.grown(0, stalled.signal), reason);
  });

  test(`${kind} store tells who begins to listen what is arriving already`, async (t) => {
    const { store, image, bytes } = await startReceiving(t, 'listened');

    const events = await watchIngests(t, store).until(({ digest }) => digest === image.layer);

    const event = events.find(({ digest }) => digest === image.layer);
    assert.deepEqual(event, { type: 'ingest-started', digest: image.layer, sizeBytes: bytes.length });
  });

  test(`${kind} store receives nothing that nobody pulls`, async (t) => {
    const { store, addImage } = await create(t);
    const image = makeImage('whole');
    await watch(t, store).until(({ type }) => type === 'listed');
    assert.equal(await store.ingest(image.layer, t.signal), undefined);

    await addImage('registry.example/team/app:v1', image);

    const absent = sha256(Buffer.from('never pulled'));
    assert.equal(await store.ingest(absent, t.signal), undefined);
    assert.equal(await store.ingestSize(absent, t.signal), undefined);
  });
}

/** Opens what is known to arrive. */
async function openArriving(t: TestContext, store: Store, digest: Digest): Promise<OpenIngest> {
  const ingest = await store.ingest(digest, t.signal);
  assert.ok(ingest, `${digest} is not arriving`);
  t.after(() => ingest.file.close());
  return ingest;
}

/** As a mirror asks: what is whole, or else what is arriving. */
async function openEither(store: Store, digest: Digest, signal: AbortSignal) {
  signal.throwIfAborted();
  try {
    return await store.open(digest, signal);
  } catch (error) {
    if (!hasCode(error, 'ERR_CONTENT_NOT_FOUND')) throw error;
  }
  return (await store.ingest(digest, signal)) ?? assert.fail('it is neither whole nor arriving');
}

/** Waits until so many bytes are there, and compares each part with what it should be as soon as it can be read. */
async function readUntil(ingest: OpenIngest, expected: Buffer, end: number, signal: AbortSignal): Promise<void> {
  let offset = 0;
  while (offset < end) {
    const available = await ingest.grown(offset, signal);
    if (available === 'aborted') assert.fail(`aborted at ${offset}`);
    const { buffer, bytesRead } = await ingest.file.read(
      Buffer.alloc(available - offset),
      0,
      available - offset,
      offset,
    );
    assert.equal(bytesRead, available - offset);
    assert.ok(buffer.equals(expected.subarray(offset, available)), `other bytes between ${offset} and ${available}`);
    offset = available;
  }
}

async function readAll({ file, sizeBytes }: OpenIngest): Promise<Buffer> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(sizeBytes), 0, sizeBytes, 0);
  return buffer.subarray(0, bytesRead);
}

/** Consumes the news of what arrives for as long as the test runs. */
export function watchIngests(t: TestContext, store: Pick<Store, 'watchIngests'>): FollowedEvents<IngestEvent> {
  return followEvents(t, (until) => store.watchIngests(until));
}
