import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { Digest } from '../../common/oci/digest.ts';
import { parseImageReference, type TagReference } from '../../common/oci/reference.ts';
import type { Store, StoreEvent } from '../../mirror/store/store.ts';
import { type FollowedEvents, followEvents } from './follow-events.ts';
import { makeImage, type SmallImage, sha256 } from './store-image.ts';
import { testIngests } from './store-ingests-suite.ts';

/** A store, and the means to change what it holds behind its back. */
export interface StoreHarness {
  readonly store: Store;
  /** Resolves when the image is there as after a pull. A name that is taken moves to this image. */
  readonly addImage: (name: string, image: SmallImage) => Promise<void>;
  /** Removes the name, and what no other image needs. */
  readonly removeImage: (name: string) => Promise<void>;
  readonly truncate: (digest: Digest, keptBytes: number) => Promise<void>;
  /** Begins to receive an image whose layer comes as it is told to. */
  readonly receive: (image: SmallImage) => Promise<Receiving>;
}

export interface Receiving {
  /** Lets the layer come as far as this; containerd writes it in whole megabytes. */
  readonly sendUntil: (offset: number) => Promise<void>;
  /** Lets all of it come. Resolves when the image is held. */
  readonly finish: () => Promise<void>;
  /** Gives the image up. */
  readonly cancel: () => Promise<void>;
}

/** Long enough for a garbage collection on a busy machine. */
const EVENT_DEADLINE_MS = 15_000;

const ABSENT = sha256(Buffer.from('never stored'));
const NAME = 'registry.example/team/app:v1';
const TAG = parseImageReference(NAME) as TagReference;

/** What every Store does. `create` makes an empty one for each test and releases it with the test. */
export function testStore(kind: string, create: (t: TestContext) => Promise<StoreHarness>): void {
  test(`${kind} store lists what it holds, then tells of changes`, async (t) => {
    const { store, addImage } = await create(t);
    const [first, second] = [makeImage('first'), makeImage('second')];
    await addImage(NAME, first);

    const events = watch(t, store);
    const listed = await events.until(({ type }) => type === 'listed');
    await addImage('registry.example/team/other:v1', second);
    const changes = await events.until((event) => event.type === 'tag-created', listed.length);

    assert.deepEqual(createdDigests(listed), [...first.blobs.keys()].sort());
    assert.equal(listed.filter(({ type }) => type === 'tag-created').length, 1);
    await events.until((event) => event.type === 'content-created' && event.digest === second.digest);
    assert.ok(changes.length > listed.length);
  });

  test(`${kind} store opens content whole`, async (t) => {
    const { store, addImage } = await create(t);
    const image = makeImage('whole');
    await addImage(NAME, image);

    for (const [digest, bytes] of image.blobs) {
      const content = await store.open(digest, t.signal);
      t.after(() => content.file.close());
      assert.equal(content.sizeBytes, bytes.length);
      assert.deepEqual(await content.file.readFile(), bytes);
    }
  });

  test(`${kind} store has no content that was never stored`, async (t) => {
    const { store } = await create(t);

    await assert.rejects(store.open(ABSENT, t.signal), { code: 'ERR_CONTENT_NOT_FOUND' });
    await assert.rejects(store.sources(ABSENT, t.signal), { code: 'ERR_CONTENT_NOT_FOUND' });
    assert.equal(await store.resolve(TAG, t.signal), undefined);
  });

  for (const isWatched of [false, true]) {
    test(`${kind} store resolves tags ${isWatched ? 'while' : 'before'} it is watched`, async (t) => {
      const { store, addImage } = await create(t);
      const image = makeImage('tagged');
      await addImage(NAME, image);
      if (isWatched) await watch(t, store).until(({ type }) => type === 'listed');

      const record = await store.resolve(TAG, t.signal);

      assert.equal(record?.digest, image.digest);
      assert.ok(Math.abs(Date.now() - (record?.resolvedAtMs ?? 0)) < EVENT_DEADLINE_MS);
      assert.equal(await store.resolve({ ...TAG, tag: 'v2' as TagReference['tag'] }, t.signal), undefined);
    });
  }

  test(`${kind} store tells when a tag moves`, async (t) => {
    const { store, addImage } = await create(t);
    const [before, after] = [makeImage('before'), makeImage('after')];
    await addImage(NAME, before);
    const events = watch(t, store);
    await events.until(({ type }) => type === 'listed');
    const old = await store.resolve(TAG, t.signal);

    await addImage(NAME, after);

    await events.until((event) => event.type === 'tag-updated' && event.record.digest === after.digest);
    const record = await store.resolve(TAG, t.signal);
    assert.equal(record?.digest, after.digest);
    assert.ok((record?.resolvedAtMs ?? 0) >= (old?.resolvedAtMs ?? Infinity));
  });

  test(`${kind} store calls an image named by digest no tag`, async (t) => {
    const { store, addImage } = await create(t);
    const image = makeImage('by-digest');
    await addImage(`registry.example/team/app@${image.digest}`, image);

    const listed = await watch(t, store).until(({ type }) => type === 'listed');

    assert.deepEqual(createdDigests(listed), [...image.blobs.keys()].sort());
    assert.equal(listed.filter(({ type }) => type === 'tag-created').length, 0);
  });

  test(`${kind} store tells when an image and its content go`, async (t) => {
    const { store, addImage, removeImage } = await create(t);
    const image = makeImage('going');
    await addImage(NAME, image);
    const events = watch(t, store);
    await events.until(({ type }) => type === 'listed');
    const kept = await store.open(image.layer, t.signal);
    t.after(() => kept.file.close());

    await removeImage(NAME);

    await events.until(({ type }) => type === 'tag-deleted');
    for (const digest of image.blobs.keys()) {
      await events.until((event) => event.type === 'content-deleted' && event.digest === digest);
      await assert.rejects(store.open(digest, t.signal), { code: 'ERR_CONTENT_NOT_FOUND' });
    }
    assert.equal(await store.resolve(TAG, t.signal), undefined);
    assert.deepEqual(await kept.file.readFile(), image.blobs.get(image.layer), 'what is open stays readable');
  });

  testIngests(kind, create);

  for (const isWatched of [false, true]) {
    test(`${kind} store never opens content cut short ${isWatched ? 'while' : 'before'} it is watched`, async (t) => {
      const { store, addImage, truncate } = await create(t);
      const image = makeImage('cut');
      await addImage(NAME, image);
      const events = isWatched ? watch(t, store) : undefined;
      await events?.until(({ type }) => type === 'listed');

      await truncate(image.layer, 10);

      await assert.rejects(store.open(image.layer, t.signal), { code: 'ERR_CONTENT_CORRUPT' });
      await events?.until((event) => event.type === 'content-deleted' && event.digest === image.layer);
      await assert.rejects(store.open(image.layer, t.signal), { code: 'ERR_CONTENT_CORRUPT' });
      const whole = await store.open(image.digest, t.signal);
      await whole.file.close();
    });
  }

  test(`${kind} store can be watched again after a watch ended`, async (t) => {
    const { store, addImage, removeImage } = await create(t);
    const [first, second] = [makeImage('first'), makeImage('second')];
    await addImage(NAME, first);
    const aborted = new AbortController();
    const events = watch(t, store, aborted.signal);
    await events.until(({ type }) => type === 'listed');
    aborted.abort();
    await events.ended;
    await removeImage(NAME);
    await addImage(NAME, second);

    const again = await watch(t, store).until(({ type }) => type === 'listed');

    const gone = again.flatMap((event) => (event.type === 'content-deleted' ? [event.digest] : []));
    const held = createdDigests(again).filter((digest) => !gone.includes(digest));
    assert.deepEqual(held, [...second.blobs.keys()].sort());
    assert.equal((await store.resolve(TAG, t.signal))?.digest, second.digest);
  });
}

/** Consumes a store's events for as long as the test runs. */
export function watch(t: TestContext, store: Store, signal?: AbortSignal): FollowedEvents<StoreEvent> {
  return followEvents(t, (until) => store.watch(until), signal);
}

function createdDigests(events: readonly StoreEvent[]): Digest[] {
  return [...new Set(events.flatMap((event) => (event.type === 'content-created' ? [event.digest] : [])))].sort();
}
