/** Whatever the kernel copies of a range, and whatever it leaves, a client gets each byte of it once, and none behind it. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import type { BodySink } from '../../mirror/transfer/body-sink.ts';
import { createBufferPool, POOL_BUFFER_BYTES } from '../../mirror/transfer/buffer-pool.ts';
import type { KernelCopy } from '../../mirror/transfer/kernel-copy.ts';
import { sendFile } from '../../mirror/transfer/send-file.ts';

/** Several pieces of each kind that it is sent in. */
const BYTES = randomBytes(9 * POOL_BUFFER_BYTES);

const range = fc
  .tuple(fc.nat(BYTES.length), fc.nat(BYTES.length))
  .map(([one, other]) => ({ start: Math.min(one, other), end: Math.max(one, other) }));
/** What the kernel takes of all that it is given: a number of bytes, all but so many, or that it cannot. */
const answer = fc.oneof(
  fc.nat(BYTES.length).map((taken) => (asked: number) => Math.min(asked, taken)),
  fc.nat(64 * 1024).map((left) => (asked: number) => Math.max(0, asked - left)),
  fc.constant(() => undefined),
);

test('each byte of a range is sent once, and in order', async (t) => {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'miroir-send-file-'));
  t.after(() => fs.rm(folder, { recursive: true }));
  await fs.writeFile(path.join(folder, 'file'), BYTES);
  const file = await fs.open(path.join(folder, 'file'));
  t.after(() => file.close());

  await fc.assert(
    fc.asyncProperty(range, fc.array(answer, { minLength: 1, maxLength: 8 }), async (bounds, answers) => {
      const sent: Buffer[] = [];
      let asked = 0;
      const kernelCopy: KernelCopy = (_socket, _file, { offset, byteCount }) => {
        const taken = answers[asked++ % answers.length]?.(byteCount);
        sent.push(BYTES.subarray(offset, offset + (taken ?? 0)));
        return taken;
      };
      const sink: BodySink = {
        direct: (copy) => copy(0),
        write: (bytes, written) => {
          sent.push(Buffer.from(bytes));
          setImmediate(written);
        },
        finish: () => {},
        cut: () => {},
        gone: new AbortController().signal,
      };
      const deps = { pool: createBufferPool({ bytesMax: 4 * POOL_BUFFER_BYTES }), kernelCopy, failed: assert.ifError };

      assert.equal(await sendFile(deps, { file }, bounds, sink), 'sent');
      assert.ok(Buffer.concat(sent).equals(BYTES.subarray(bounds.start, bounds.end)));
    }),
  );
});
