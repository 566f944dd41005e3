import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { ask } from '../../test/conformance/oci-test-mirror.ts';
import { openFileOf } from '../../test/conformance/open-file-of.ts';
import { type BodySink, responseSink } from './body-sink.ts';
import { type BufferPool, createBufferPool, POOL_BUFFER_BYTES } from './buffer-pool.ts';
import { createKernelCopy, type KernelCopy } from './kernel-copy.ts';
import { createReadNow, type ReadNow } from './read-now.ts';
import { type SendFileDeps, type SendOutcome, sendFile } from './send-file.ts';

/** More than the kernel takes in for a client that does not read. */
const BYTES = randomBytes(16 * POOL_BUFFER_BYTES + 77);

/** The ways to send: with the kernel's help, without, where it helps every now and then only, and where it has some of a file in memory. */
const nativeRead = createReadNow() as ReadNow;
const nativeCopy = createKernelCopy(nativeRead) as KernelCopy;
let askCount = 0;
const copiedAtTimes: KernelCopy = (...asked) => {
  askCount += 1;
  if (askCount % 3 === 1) return 0;
  return askCount % 3 === 2 ? undefined : nativeCopy(...asked);
};
const readAtTimes: ReadNow = (...asked) => {
  askCount += 1;
  return askCount % 3 > 0 && nativeRead(...asked);
};
const WAYS: Readonly<Record<string, Pick<SendFileDeps, 'kernelCopy' | 'readNow'>>> = {
  'copied by the kernel': { kernelCopy: nativeCopy },
  'read and written': {},
  'copied at times': { kernelCopy: copiedAtTimes },
  'read at once': { readNow: nativeRead },
  'copied, or read at once, at times': { kernelCopy: copiedAtTimes, readNow: readAtTimes },
  'read at once at times': { readNow: readAtTimes },
};

interface Sender {
  readonly url: string;
  readonly pool: BufferPool;
  readonly problems: unknown[];
  readonly outcomes: Array<Promise<SendOutcome>>;
}

/** Serves a file that holds BYTES, and promises `promisedBytes` of it. */
async function startSender(
  t: TestContext,
  way: Pick<SendFileDeps, 'kernelCopy' | 'readNow'>,
  promisedBytes: number,
  poolBytes = 8 * POOL_BUFFER_BYTES,
): Promise<Sender> {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'miroir-send-file-'));
  await fs.writeFile(path.join(folder, 'file'), BYTES);
  const pool = createBufferPool({ bytesMax: poolBytes });
  const problems: unknown[] = [];
  const outcomes: Array<Promise<SendOutcome>> = [];
  const server = http.createServer((_request, response) => {
    const send = async () => {
      const file = await fs.open(path.join(folder, 'file'));
      try {
        response.writeHead(200, { 'Content-Length': promisedBytes });
        const deps = { pool, ...way, failed: (problem: unknown) => problems.push(problem) };
        return await sendFile(deps, { file }, { start: 0, end: promisedBytes }, responseSink(response));
      } finally {
        await file.close();
      }
    };
    outcomes.push(send());
  });
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(async () => {
    server.closeAllConnections();
    server.close();
    await fs.rm(folder, { recursive: true });
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`, pool, problems, outcomes };
}

for (const [name, way] of Object.entries(WAYS)) {
  test(`${name}: sends all of a file, and gives its buffers back`, async (t) => {
    const { url, pool, outcomes } = await startSender(t, way, BYTES.length);

    const answer = await ask(url);

    assert.ok(answer.body.equals(BYTES));
    assert.equal(await outcomes[0], 'sent');
    assert.ok(pool.heldBytes <= 3 * POOL_BUFFER_BYTES);
  });

  test(`${name}: a file that ends early is followed by a FIN, with the rest owed and all that was read sent`, async (t) => {
    const { url, problems, outcomes } = await startSender(t, way, BYTES.length + 1000);

    const answer = await ask(url);

    assert.equal(answer.isShort, true);
    assert.ok(answer.body.equals(BYTES));
    assert.equal(await outcomes[0], 'short');
    assert.equal(problems.length, 1);
  });

  test(`${name}: a client that sent more than its request is not answered by a reset when the file ends early`, async (t) => {
    const { url } = await startSender(t, way, BYTES.length + 1000);

    const answer = await ask(url, { headers: { Host: 'a\r\n\r\nGET / HTTP/1.1\r\nHost: a' } });

    assert.equal(answer.isShort, true);
    assert.ok(answer.body.equals(BYTES));
  });

  test(`${name}: stops reading when the client leaves`, async (t) => {
    const { url, pool, outcomes } = await startSender(t, way, BYTES.length);
    const socket = net.connect(Number(new URL(url).port), '127.0.0.1');
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await new Promise((resolve) => socket.once('readable', resolve));

    socket.resetAndDestroy();

    assert.equal(await outcomes[0], 'client-gone');
    assert.ok(pool.heldBytes <= 3 * POOL_BUFFER_BYTES);
  });

  test(`${name}: a client that does not read keeps none of the others waiting`, async (t) => {
    const { url, outcomes } = await startSender(t, way, BYTES.length, 2 * POOL_BUFFER_BYTES);
    const stalled = net.connect(Number(new URL(url).port), '127.0.0.1');
    stalled.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    await new Promise((resolve) => stalled.once('readable', resolve));

    const answers = await Promise.all([ask(url), ask(url), ask(url)]);

    assert.ok(answers.every(({ body }) => body.equals(BYTES)));
    stalled.destroy();
    assert.deepEqual(await Promise.all(outcomes), ['client-gone', 'sent', 'sent', 'sent']);
  });
}

for (const { others, isReadNow } of [
  { others: 1, isReadNow: true },
  { others: 7, isReadNow: false },
]) {
  test(`with ${others} others that send, a piece is read by ${isReadNow ? 'this' : 'another'} thread`, async (t) => {
    const file = await openFileOf(t, BYTES);
    const pool = createBufferPool({ bytesMax: 16 * POOL_BUFFER_BYTES });
    for (let count = 0; count < others; count += 1) pool.lease().take();
    let readNowCount = 0;
    const readNow: ReadNow = (...asked) => {
      readNowCount += 1;
      return nativeRead(...asked);
    };
    const sink: BodySink = {
      write: (_bytes, written) => setImmediate(written),
      finish: () => {},
      cut: () => {},
      gone: new AbortController().signal,
    };

    const outcome = await sendFile(
      { pool, readNow, failed: assert.ifError },
      { file },
      { start: 0, end: BYTES.length },
      sink,
    );

    assert.equal(outcome, 'sent');
    assert.equal(readNowCount > 0, isReadNow);
  });
}
