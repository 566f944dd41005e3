import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { createLogger, type Logger, silentLogger } from '../../common/log.ts';
import { digestHex } from '../../common/oci/digest.ts';
import { parseImageReference, type TagReference } from '../../common/oci/reference.ts';
import { createContainerdClient } from '../../containerd/api/client.ts';
import { createCriClient } from '../../containerd/api/cri.ts';
import { createContainerdStore } from '../../mirror/store/containerd-store.ts';
import { makeImage, type SmallImage } from '../conformance/store-image.ts';
import { testStore, watch } from '../conformance/store-suite.ts';
import { CONTAINERD_VERSIONS, type ContainerdVersion, startContainerd } from './real-containerd.ts';
import { startRegistry } from './small-registry.ts';

const NAME = 'registry.example/team/app:v1';
const TAG = parseImageReference(NAME) as TagReference;

/** From the end of a pull until what it brought is told: half of what finding it on another node may take. */
const ANNOUNCE_MS_MAX = 50;

async function startNode(t: TestContext, version: ContainerdVersion, log: Logger = silentLogger) {
  const registry = await startRegistry(t);
  const containerd = await startContainerd(t, version);
  await fs.mkdir(path.join(containerd.certsDir, '_default'));
  await fs.writeFile(path.join(containerd.certsDir, '_default/hosts.toml'), `[host."http://${registry.host}"]\n`);
  const client = createContainerdClient({ socket: containerd.socket, namespace: 'k8s.io' });
  const cri = createCriClient({ socket: containerd.socket });
  t.after(() => client.close());
  t.after(() => cri.close());
  return {
    containerd,
    store: createContainerdStore({ client, log }),
    blobs: path.join(containerd.contentRoot, 'blobs/sha256'),
    serve: (tag: string, image: SmallImage) => registry.add(tag, image),
    addImage: async (name: string, image: SmallImage) => {
      registry.add(parseImageReference(name)?.tag ?? 'none', image);
      await cri.pullImage({ image: name }, t.signal);
    },
    removeImage: (name: string) => cri.removeImage(name, t.signal),
    /** Pulls an image whose layer comes as far as it is told to. */
    receive: async (image: SmallImage) => {
      const cancelling = new AbortController();
      registry.add('arriving', image);
      const held = registry.hold(image.layer);
      const pulling = cri.pullImage({ image: 'registry.example/team/app:arriving' }, cancelling.signal);
      pulling.catch(() => {}); // Who cares awaits it.
      t.after(() => cancelling.abort());
      return {
        sendUntil: async (offset: number) => held.sendUntil(offset),
        finish: async () => {
          held.sendUntil(Infinity);
          await pulling;
        },
        cancel: async () => {
          cancelling.abort();
          await assert.rejects(pulling);
        },
      };
    },
  };
}

for (const version of CONTAINERD_VERSIONS) {
  testStore(`containerd ${version}`, async (t) => {
    const node = await startNode(t, version);
    return {
      ...node,
      truncate: (digest, keptBytes) => fs.truncate(path.join(node.blobs, digestHex(digest)), keptBytes),
    };
  });

  test(`containerd ${version} pulls are told within ${ANNOUNCE_MS_MAX} ms`, async (t) => {
    const { store, addImage } = await startNode(t, version);
    const events = watch(t, store);
    await events.until(({ type }) => type === 'listed');
    const delaysMs: number[] = [];

    for (const seed of ['a', 'b', 'c', 'd', 'e']) {
      const image = makeImage(`timed-${seed}`);
      await addImage(`registry.example/team/app:${seed}`, image);
      const pulledAt = performance.now();
      await events.until((event) => event.type === 'tag-created' && event.tag.tag === seed);
      for (const digest of image.blobs.keys()) {
        await events.until((event) => event.type === 'content-created' && event.digest === digest);
      }
      delaysMs.push(performance.now() - pulledAt);
    }

    t.diagnostic(`from pulled to told, ms: ${delaysMs.map((delayMs) => delayMs.toFixed(1)).join(' ')}`);
    assert.ok(Math.max(...delaysMs) <= ANNOUNCE_MS_MAX, `took ${Math.max(...delaysMs)} ms`);
  });

  test(`containerd ${version} tells where content was pulled from`, async (t) => {
    const { store, addImage } = await startNode(t, version);
    const image = makeImage('sourced');
    await addImage(NAME, image);

    assert.deepEqual(await store.sources(image.layer, t.signal), ['registry.example']);
    assert.deepEqual(await store.sources(image.digest, t.signal), ['registry.example']);
  });

  test(`containerd ${version} shares blobs between namespaces: ours are those that ours pulled`, async (t) => {
    const { containerd, store, addImage, serve } = await startNode(t, version);
    const image = makeImage('shared');
    serve('v1', image);
    const local = version === '1.6.20' ? [] : ['--local'];
    const events = watch(t, store);
    await events.until(({ type }) => type === 'listed');

    await containerd.ctr(
      '-n',
      'other',
      'images',
      'pull',
      ...local,
      '--snapshotter',
      'native',
      '--hosts-dir',
      containerd.certsDir,
      NAME,
    );
    await assert.rejects(store.open(image.layer, t.signal), { code: 'ERR_CONTENT_NOT_FOUND' });
    await addImage(NAME, image);

    for (const digest of image.blobs.keys()) {
      await events.until((event) => event.type === 'content-created' && event.digest === digest);
    }
    const content = await store.open(image.layer, t.signal);
    await content.file.close();
  });

  test(`containerd ${version} may restart: content is served meanwhile, and what changed is found`, async (t) => {
    const { containerd, store, addImage } = await startNode(t, version);
    const [before, after] = [makeImage('before'), makeImage('after')];
    await addImage(NAME, before);
    const events = watch(t, store);
    await events.until(({ type }) => type === 'listed');

    await containerd.stop('SIGKILL');
    const served = await store.open(before.layer, t.signal);
    await served.file.close();
    assert.equal((await store.resolve(TAG, t.signal))?.digest, before.digest);
    await containerd.start();
    await addImage('registry.example/team/app:v2', after);

    await events.until((event) => event.type === 'tag-created' && event.tag.tag === 'v2');
    await events.until((event) => event.type === 'content-created' && event.digest === after.layer);
  });

  test(`containerd ${version} may come after the mirror`, async (t) => {
    const { containerd, store, addImage } = await startNode(t, version);
    await addImage(NAME, makeImage('late'));
    await containerd.stop();
    await assert.rejects(store.probe(t.signal), { code: 'ERR_CONTAINERD_UNAVAILABLE' });
    const events = watch(t, store);
    assert.equal(store.isLive(), false);

    await containerd.start();

    await events.until(({ type }) => type === 'listed');
    assert.equal((await store.resolve(TAG, t.signal))?.digest, makeImage('late').digest);
    assert.equal(store.isLive(), true);
  });

  test(`containerd ${version} may lose its whole store, and be filled again`, async (t) => {
    const { containerd, store, addImage } = await startNode(t, version);
    const [lost, found] = [makeImage('lost'), makeImage('found')];
    await addImage(NAME, lost);
    const events = watch(t, store);
    await events.until(({ type }) => type === 'listed');

    await containerd.stop();
    await fs.rm(path.dirname(containerd.contentRoot), { recursive: true });
    await events.until((event) => event.type === 'content-deleted' && event.digest === lost.layer);
    await assert.rejects(store.open(lost.layer, t.signal), { code: 'ERR_CONTENT_NOT_FOUND' });
    await containerd.start();
    await events.until(({ type }) => type === 'tag-deleted');
    await addImage('registry.example/team/app:v2', found);

    await events.until((event) => event.type === 'content-created' && event.digest === found.layer);
  });

  test(`containerd ${version} keeps its content where it cannot be read: one clear line`, async (t) => {
    const lines: string[] = [];
    const log = createLogger({ write: (line) => lines.push(line), now: () => new Date() }, { level: 'warn' });
    const { containerd, store, addImage } = await startNode(t, version, log);
    await addImage(NAME, makeImage('hidden'));
    const away = `${containerd.contentRoot}.away`;
    await fs.rename(containerd.contentRoot, away);
    await fs.writeFile(containerd.contentRoot, 'not a folder');

    await assert.rejects(store.probe(t.signal), (error: Error & { code: string }) => {
      assert.equal(error.code, 'ERR_CONTENT_ROOT_UNREADABLE');
      assert.match(error.message, new RegExp(`${containerd.contentRoot}.*mount that folder at the same path`));
      return true;
    });
    const events = watch(t, store);
    await fs.rm(containerd.contentRoot);
    await fs.rename(away, containerd.contentRoot);

    await events.until(({ type }) => type === 'listed');
    assert.ok(lines.length <= 1, lines.join(''));
  });
}
