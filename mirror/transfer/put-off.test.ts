import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import { createPutOff } from './put-off.ts';

const DIGEST = parseDigest(`sha256:${'a'.repeat(64)}`) as Digest;
const OTHER = parseDigest(`sha256:${'b'.repeat(64)}`) as Digest;

/** Has so many bytes, and never more. */
function stuckAt(availableBytes: number) {
  return {
    availableBytes,
    grown: async (offset: number, signal: AbortSignal) => {
      if (availableBytes <= offset) await once(signal, 'abort');
      signal.throwIfAborted();
      return availableBytes;
    },
  };
}

test('who waits for more of what is put off is told at once', async (t) => {
  const putOff = createPutOff();
  const grown = putOff.until(DIGEST, stuckAt(8)).grown(8, t.signal);

  putOff.add(DIGEST);

  assert.equal(await grown, 'aborted');
});

test('what there is of it is read first', async (t) => {
  const putOff = createPutOff();
  putOff.add(DIGEST);
  const growth = putOff.until(DIGEST, stuckAt(8));

  assert.equal(await growth.grown(0, t.signal), 8);
  assert.equal(await growth.grown(8, t.signal), 'aborted');
});

test('what is asked for again is waited for again, and so is anything else', async (t) => {
  const putOff = createPutOff();
  putOff.add(DIGEST);
  putOff.delete(DIGEST);
  const ending = new AbortController();
  const signal = AbortSignal.any([t.signal, ending.signal]);
  const waits = [DIGEST, OTHER].map((digest) => putOff.until(digest, stuckAt(8)).grown(8, signal));

  setImmediate(() => setImmediate(() => ending.abort()));

  for (const wait of waits) await assert.rejects(wait, { name: 'AbortError' });
});
