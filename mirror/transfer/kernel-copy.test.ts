import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net, { type AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { openFileOf } from '../../test/conformance/open-file-of.ts';
import { createKernelCopy, type KernelCopy } from './kernel-copy.ts';
import { createReadNow } from './read-now.ts';

const FILE_BYTES = 64 * 1024;

/** A connection to somebody who reads only when told so, and its descriptor. */
async function connect(t: TestContext) {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1').pause();
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  t.after(() => {
    client.destroy();
    socket.destroy();
    server.close();
  });
  return { client, socket, fd: (socket as unknown as { readonly _handle: { readonly fd: number } })._handle.fd };
}

function kernelCopy(): KernelCopy {
  const copy = createKernelCopy(createReadNow());
  assert.ok(copy !== undefined, 'the Node that the project brings can call the C library');
  return copy;
}

test('the kernel sends the bytes of a range', async (t) => {
  const bytes = randomBytes(FILE_BYTES);
  const file = await openFileOf(t, bytes);
  const { client, socket, fd } = await connect(t);

  const copied = kernelCopy()(fd, file.fd, { offset: 1000, byteCount: 5000 });

  assert.equal(copied, 5000);
  socket.end();
  const received = (await client.resume().toArray()) as Buffer[];
  assert.ok(Buffer.concat(received).equals(bytes.subarray(1000, 6000)));
});

test('a full socket takes nothing, and is not waited for', async (t) => {
  const file = await openFileOf(t, randomBytes(FILE_BYTES));
  const { fd } = await connect(t);
  const copy = kernelCopy();
  let copied: number | undefined;
  for (let turns = 0; turns < 10_000 && copied !== 0; turns += 1)
    copied = copy(fd, file.fd, { offset: 0, byteCount: FILE_BYTES });

  assert.equal(copied, 0);
});

test('what ends behind the file is not copied', async (t) => {
  const file = await openFileOf(t, randomBytes(FILE_BYTES));
  const { fd } = await connect(t);

  assert.equal(kernelCopy()(fd, file.fd, { offset: 0, byteCount: FILE_BYTES + 1 }), undefined);
});

test('a socket whose other end is gone takes nothing', async (t) => {
  const file = await openFileOf(t, randomBytes(FILE_BYTES));
  const { client, socket, fd } = await connect(t);
  socket.on('error', () => {});
  client.resetAndDestroy();
  await once(client, 'close');
  const copy = kernelCopy();
  let copied: number | undefined = 1;
  for (let turns = 0; turns < 1000 && copied !== 0; turns += 1) {
    copied = copy(fd, file.fd, { offset: 0, byteCount: FILE_BYTES });
    if (copied !== 0) await new Promise((resolve) => setImmediate(resolve));
  }

  assert.equal(copied, 0);
});
