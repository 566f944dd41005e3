import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import nodeFs from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { createLogger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import { createIngestFolder, layerRef, makeContent } from '../../test/conformance/ingest-folder.ts';
import { watchIngests } from '../../test/conformance/store-ingests-suite.ts';
import { createIngests } from './ingests.ts';
import type { OpenIngest } from './store.ts';

const DEADLINE_MS = 10_000;
/** As many as are followed at once, and some. */
const MANY = 300;

async function start(t: TestContext, options: { readonly bootedAtMs?: number } = {}) {
  const folder = await createIngestFolder(t);
  const warnings: string[] = [];
  const log = createLogger({ write: (line) => warnings.push(line), now: () => new Date() }, { level: 'warn' });
  const ingests = createIngests({ log }, { namespace: 'k8s.io', bootedAtMs: options.bootedAtMs ?? 0 });
  t.after(() => ingests.stop());
  const news = watchIngests(t, { watchIngests: (signal) => ingests.watch(signal) });
  return {
    ...folder,
    ingests,
    news,
    warnings,
    /** Opens what has to be arriving. */
    openNow: async (digest: Digest): Promise<OpenIngest> => {
      const ingest = await ingests.open(digest);
      assert.ok(ingest, `${digest} is not arriving`);
      t.after(() => ingest.file.close());
      return ingest;
    },
    /** Makes an ingest that has some bytes. */
    begin: async (ref: string, total: string | undefined, bytes: Uint8Array = Buffer.alloc(0)) => {
      await folder.prepare(ref, total);
      await folder.open(ref);
      await folder.append(ref, bytes);
    },
  };
}

test('what a crash left is not arriving, until a pull takes it up', async (t) => {
  const { root, ingests, news, begin, append, openNow } = await start(t);
  const { digest, bytes } = makeContent(100);
  await begin(layerRef(digest), '100', bytes.subarray(0, 40));
  await ingests.follow(root);
  assert.equal(await ingests.open(digest), undefined);

  await append(layerRef(digest), bytes.subarray(40, 60));

  await news.until((event) => event.type === 'ingest-started' && event.digest === digest);
  assert.equal((await openNow(digest)).availableBytes, 60);
  assert.equal(news.seen.length, 1);
});

test('what is begun anew in the place of what was given up is seen to arrive', async (t) => {
  const { root, ingests, news, begin, prepare, open, append, folderOf } = await start(t);
  const { digest, bytes } = makeContent(100);
  const ref = layerRef(digest);
  const ended = (index: number) => news.until((event) => event.type === 'ingest-ended', index);
  await ingests.follow(root);
  await begin(ref, '100', bytes.subarray(0, 40));
  await news.until((event) => event.type === 'ingest-started');

  // Both before anybody has looked.
  nodeFs.rmSync(folderOf(ref), { recursive: true });
  nodeFs.mkdirSync(folderOf(ref));
  const { length } = await ended(0);
  await prepare(ref, '100');
  await open(ref);
  await append(ref, bytes.subarray(0, 20));

  await news.until((event) => event.type === 'ingest-started', length);
});

test('what was there before this machine started is never shared', async (t) => {
  const { root, ingests, news, begin, append, commit, openNow } = await start(t, { bootedAtMs: Date.now() + 60_000 });
  const { digest, bytes } = makeContent(100);
  await begin(layerRef(digest), '100', bytes.subarray(0, 40));
  await ingests.follow(root);

  await append(layerRef(digest), bytes.subarray(40));
  assert.equal(await ingests.open(digest), undefined);
  await commit(layerRef(digest), digest);

  assert.equal((await openNow(digest)).availableBytes, 100, 'containerd verified it');
  assert.deepEqual(news.seen, []);
});

for (const total of [undefined, '', '0', '-1', '1e3', '99999999999999999999', 'x'.repeat(5000)]) {
  test(`an ingest of the length '${total?.slice(0, 20)}' is not shared: nobody can be promised one`, async (t) => {
    const { root, ingests, begin, openNow } = await start(t);
    const [unknown, known] = [makeContent(100), makeContent(100)];
    await ingests.follow(root);

    await begin(layerRef(unknown.digest), total, unknown.bytes);
    await begin(layerRef(known.digest), '100', known.bytes.subarray(0, 1));

    assert.equal(await ingests.open(unknown.digest), undefined);
    await openNow(known.digest);
  });
}

for (const { title, makeRef } of [
  { title: 'of another namespace', makeRef: (digest: Digest) => layerRef(digest, 'moby') },
  {
    title: 'of what is made from the digest',
    makeRef: (digest: Digest) => `k8s.io/1/convert-uncompress-from-${digest}`,
  },
  { title: 'that goes on after the digest', makeRef: (digest: Digest) => `k8s.io/1/layer-${digest}-diff` },
  { title: 'that is huge', makeRef: (digest: Digest) => `k8s.io/1/layer-${'x'.repeat(1_000_000)}@${digest}` },
  { title: 'that is binary', makeRef: (digest: Digest) => `\0\xff\n/1/layer-${digest}` },
]) {
  test(`a ref ${title} is not shared, and is in nobody's way`, async (t) => {
    const { root, ingests, news, begin, openNow } = await start(t);
    const [foreign, ours] = [makeContent(100), makeContent(100)];
    await ingests.follow(root);

    await begin(makeRef(foreign.digest), '100', foreign.bytes.subarray(0, 50));
    await begin(layerRef(ours.digest), '100', ours.bytes.subarray(0, 50));

    assert.equal(await ingests.open(foreign.digest), undefined);
    await openNow(ours.digest);
    assert.deepEqual(new Set(news.seen.map(({ digest }) => digest)), new Set([ours.digest]));
  });
}

for (const ref of ['manifest', 'index', 'config', 'attestation', 'unknown', 'layer-v1@', 'layer-a-name\n@']) {
  test(`a ref of the kind '${ref.replace('\n', '\\n')}' is shared`, async (t) => {
    const { root, ingests, begin, openNow } = await start(t);
    const { digest, bytes } = makeContent(100);
    await ingests.follow(root);

    await begin(`k8s.io/12/${ref.endsWith('@') ? ref : `${ref}-`}${digest}`, '100', bytes.subarray(0, 50));

    assert.equal((await openNow(digest)).availableBytes, 50);
  });
}

test('what is no ingest in the folder of ingests is passed over, with one warning at most', async (t) => {
  const { root, ingests, warnings, folderOf, begin, openNow } = await start(t);
  const { digest, bytes } = makeContent(100);
  const strange = (name: string) => path.join(folderOf(name), 'ref');
  for (const name of ['folder', 'pipe', 'loop']) await fs.mkdir(folderOf(name), { recursive: true });
  await fs.mkdir(strange('folder'));
  execFileSync('mkfifo', [strange('pipe')]);
  await fs.symlink(strange('loop'), strange('loop'));
  await fs.writeFile(folderOf('file'), '');
  await fs.mkdir(path.join(root, 'ingest/not-an-id'));
  await ingests.follow(root);

  await begin(layerRef(digest), '100', bytes.subarray(0, 50));

  await openNow(digest);
  assert.equal(warnings.length, 1);
});

test('an ingest whose data is a pipe never makes anybody wait', async (t) => {
  const { root, ingests, prepare, folderOf } = await start(t);
  const { digest } = makeContent(100);
  await ingests.follow(root);
  await prepare(layerRef(digest), '100');

  execFileSync('mkfifo', [path.join(folderOf(layerRef(digest)), 'data')]);

  assert.equal(await ingests.open(digest), undefined);
});

test('an ingest that is removed and made anew is another', async (t) => {
  const { root, ingests, news, begin, abort, openNow } = await start(t);
  const { digest, bytes } = makeContent(100);
  await ingests.follow(root);
  await begin(layerRef(digest), '100', bytes.subarray(0, 50));
  const old = await openNow(digest);

  await abort(layerRef(digest));
  await begin(layerRef(digest), '100', bytes.subarray(0, 10));

  assert.equal(await old.grown(50, AbortSignal.timeout(DEADLINE_MS)), 'aborted');
  await news.until(({ type }) => type === 'ingest-started', 2);
  assert.equal((await openNow(digest)).availableBytes, 10);
});

test('what was left behind, removed and made anew is arriving', async (t) => {
  const { root, ingests, begin, abort, openNow } = await start(t);
  const { digest, bytes } = makeContent(100);
  await begin(layerRef(digest), '100', bytes.subarray(0, 40));
  await ingests.follow(root);

  await abort(layerRef(digest));
  await begin(layerRef(digest), '100', bytes.subarray(0, 10));

  assert.equal((await openNow(digest)).availableBytes, 10);
});

test('more than was promised is not given', async (t) => {
  const { root, ingests, begin, openNow } = await start(t);
  const { digest, bytes } = makeContent(100);
  await ingests.follow(root);

  await begin(layerRef(digest), '60', bytes);

  const ingest = await openNow(digest);
  assert.equal(ingest.availableBytes, 60);
  assert.equal(await ingest.grown(0, t.signal), 60);
});

test('a file that is cut is waited for until it is longer again', async (t) => {
  const { root, ingests, begin, folderOf, append, openNow } = await start(t);
  const { digest, bytes } = makeContent(100);
  await ingests.follow(root);
  await begin(layerRef(digest), '100', bytes.subarray(0, 50));
  const ingest = await openNow(digest);

  await fs.truncate(path.join(folderOf(layerRef(digest)), 'data'), 0);
  const grown = ingest.grown(50, AbortSignal.timeout(DEADLINE_MS));
  await append(layerRef(digest), bytes.subarray(0, 30));
  await append(layerRef(digest), bytes.subarray(30, 60));

  assert.equal(await grown, 60);
});

test('when containerd is gone nothing arrives, and what goes on after is found', async (t) => {
  const { root, ingests, news, begin, append, openNow } = await start(t);
  const { digest, bytes } = makeContent(100);
  await ingests.follow(root);
  await begin(layerRef(digest), '100', bytes.subarray(0, 50));
  const ingest = await openNow(digest);
  const grown = ingest.grown(50, AbortSignal.timeout(DEADLINE_MS));

  ingests.doubt();

  assert.equal(await grown, 'aborted');
  const { length } = await news.until((event) => event.type === 'ingest-ended' && !event.committed);
  assert.equal(await ingests.open(digest), undefined);
  await append(layerRef(digest), bytes.subarray(50, 60));
  await news.until(({ type }) => type === 'ingest-started', length);
  assert.equal((await openNow(digest)).availableBytes, 60);
});

test('two pulls of one digest are told as one', async (t) => {
  const { root, ingests, news, begin, abort, commit, openNow } = await start(t);
  const { digest, bytes } = makeContent(100);
  const other = `k8s.io/2/config-${digest}`;
  await ingests.follow(root);
  await begin(layerRef(digest), '100', bytes);
  await begin(other, '100', bytes);
  assert.equal(
    await ingests.open(makeContent(1).digest),
    undefined,
    'who asks for what is not there makes it look at all',
  );

  await abort(layerRef(digest));
  await openNow(digest);
  await commit(other, digest);

  await news.until((event) => event.type === 'ingest-ended' && event.committed);
  assert.deepEqual(
    news.seen.map(({ type }) => type),
    ['ingest-started', 'ingest-ended'],
  );
});

test(`${MANY} leftovers are in nobody's way`, async (t) => {
  const { root, ingests, begin, openNow } = await start(t);
  for (let index = 0; index < MANY; index += 1) await begin(layerRef(makeContent(10).digest), '10');
  await ingests.follow(root);
  const { digest, bytes } = makeContent(100);

  await begin(layerRef(digest), '100', bytes.subarray(0, 50));

  assert.equal((await openNow(digest)).availableBytes, 50);
});

test('where the system has no watch to give, what arrives is found and followed all the same', async (t) => {
  t.mock.method(nodeFs, 'watch', () => {
    throw Object.assign(new Error('no watch is left'), { code: 'ENOSPC' });
  });
  const { root, ingests, news, begin, append, commit, openNow } = await start(t);
  const { digest, bytes } = makeContent(100);
  await ingests.follow(root);
  const signal = AbortSignal.timeout(DEADLINE_MS);

  await begin(layerRef(digest), '100', bytes.subarray(0, 50));
  const ingest = await openNow(digest);
  const grown = ingest.grown(50, signal);
  await append(layerRef(digest), bytes.subarray(50));

  assert.equal(await grown, 100);
  await commit(layerRef(digest), digest);
  await news.until((event) => event.type === 'ingest-ended' && event.committed);
});

test('when it is no longer followed, nothing arrives', async (t) => {
  const { root, ingests, news, begin, openNow } = await start(t);
  const { digest, bytes } = makeContent(100);
  await ingests.follow(root);
  await begin(layerRef(digest), '100', bytes.subarray(0, 50));
  const ingest = await openNow(digest);

  ingests.stop();

  assert.equal(await ingest.grown(50, t.signal), 'aborted');
  assert.equal(await ingests.open(digest), undefined);
  await news.until(({ type }) => type === 'ingest-ended');
});
