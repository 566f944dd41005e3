import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { silentLogger } from '../../common/log.ts';
import { openFileOf } from '../../test/conformance/open-file-of.ts';
import { sha256 } from '../../test/conformance/store-image.ts';
import { createBufferPool, POOL_BUFFER_BYTES } from './buffer-pool.ts';
import { localBlob } from './found-blob.ts';
import { createReadNow, type ReadNow } from './read-now.ts';

test('what is in memory is sent to a client of this node without a thread', async (t) => {
  const bytes = randomBytes(3 * POOL_BUFFER_BYTES);
  const file = await openFileOf(t, bytes);
  const nativeRead = createReadNow() as ReadNow;
  let readNowCount = 0;
  const readNow: ReadNow = (...asked) => {
    readNowCount += 1;
    return nativeRead(...asked);
  };
  const pool = createBufferPool({ bytesMax: 4 * POOL_BUFFER_BYTES });
  const blob = localBlob(
    { pool, kernelCopy: undefined, readNow, log: silentLogger },
    { digest: sha256(bytes), sizeBytes: bytes.length, file },
  );
  const received: Buffer[] = [];

  const outcome = await blob.send(
    { start: 0, end: bytes.length },
    {
      write: (part, written) => {
        received.push(Buffer.from(part));
        setImmediate(written);
      },
      finish: () => {},
      cut: () => {},
      gone: new AbortController().signal,
    },
  );

  assert.equal(outcome, 'sent');
  assert.ok(Buffer.concat(received).equals(bytes));
  assert.equal(readNowCount, 3);
});
