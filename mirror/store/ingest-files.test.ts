import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createIngestFolder, layerRef, makeContent } from '../../test/conformance/ingest-folder.ts';
import { type IngestSighting, lookAtIngest } from './ingest-files.ts';

const NAMESPACE = 'k8s.io';

/** An ingest that has 40 of its 100 bytes, and a look at it. */
async function begin(t: TestContext) {
  const folder = await createIngestFolder(t);
  const { digest, bytes } = makeContent(100);
  const ref = layerRef(digest);
  await folder.prepare(ref, '100');
  await folder.open(ref);
  await folder.append(ref, bytes.subarray(0, 40));
  const before = lookAtIngest(folder.folderOf(ref), NAMESPACE) as IngestSighting;
  assert.equal(before.bytes, 40);
  const lookAgain = () => lookAtIngest(folder.folderOf(ref), NAMESPACE, before);
  return { ...folder, ref, digest, bytes, before, lookAgain };
}

test('what was seen before is looked at again for what changes only', async (t) => {
  const { ref, bytes, folderOf, append, close, before, lookAgain } = await begin(t);
  // Nothing that stays as it was is read again.
  await fs.rm(path.join(folderOf(ref), 'ref'));
  await fs.rm(path.join(folderOf(ref), 'total'));
  await append(ref, bytes.subarray(40, 60));

  assert.deepEqual(lookAgain(), { ...before, bytes: 60 });

  await close(ref);
  const { closing, ...rest } = lookAgain() as IngestSighting;
  assert.notEqual(closing, before.closing);
  assert.deepEqual({ ...rest, closing: before.closing }, { ...before, bytes: 60 });
});

test('another file in the place of what was seen before is looked at as a new one', async (t) => {
  const { ref, abort, prepare, open, before, lookAgain } = await begin(t);
  await abort(ref);
  assert.equal(lookAgain(), 'gone');

  await prepare(ref, '200');
  await open(ref);

  const other = lookAgain() as IngestSighting;
  assert.notEqual(other.identity, before.identity);
  assert.deepEqual([other.sizeBytes, other.bytes], [200, 0]);
});
