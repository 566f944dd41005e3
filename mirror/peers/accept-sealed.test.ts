import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net from 'node:net';
import type { Duplex } from 'node:stream';
import { type TestContext, test } from 'node:test';
import { acceptSealed } from './accept-sealed.ts';
import { createRecordCipher } from './record-cipher.ts';
import { createRecords } from './records.ts';
import { createSealer, deriveSealingKeys, recordLength, SEALING_NONCE_BYTES, type Seal } from './sealing.ts';
import { HELLO, SESSION_ID_BYTES } from './sessions.ts';

const SECRET = randomBytes(32);

function sealRecord(seal: Seal, text: Uint8Array): Buffer {
  const record = Buffer.alloc(recordLength(text.length));
  seal(text, record);
  return record;
}

/** A sealed connection, from the server's side, and what a client seals with on the other. */
async function connect(
  t: TestContext,
  cipher = createRecordCipher(),
): Promise<{ stream: Duplex; client: net.Socket; seal: (text: string) => Buffer }> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const client = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  client.on('error', () => {});
  const [socket] = (await once(server, 'connection')) as [net.Socket];
  t.after(() => {
    client.destroy();
    socket.destroy();
    server.close();
  });
  const clientNonce = randomBytes(SEALING_NONCE_BYTES);
  client.write(Buffer.concat([HELLO, Buffer.alloc(SESSION_ID_BYTES), clientNonce]));
  const stream = await acceptSealed(
    socket,
    { sessions: { begin: () => {}, secretOf: () => SECRET }, records: createRecords(cipher) },
    5000,
  );
  assert.ok(typeof stream === 'object');
  const [serverNonce] = (await once(client, 'data')) as [Buffer];
  const sealer = createSealer(createRecordCipher(), deriveSealingKeys(SECRET, clientNonce, serverNonce).client);
  return { stream, client, seal: (text) => sealRecord(sealer, Buffer.from(text)) };
}

test('what a client seals is read', async (t) => {
  const { stream, client, seal } = await connect(t);
  client.write(Buffer.concat([seal('GET '), seal('/v2/')]));

  let text = '';
  for await (const bytes of stream) {
    text += String(bytes);
    if (text.length === 8) break;
  }

  assert.equal(text, 'GET /v2/');
});

for (const { what, spoil } of [
  { what: 'is not sealed', spoil: (record: Buffer) => record.fill(0, 4) },
  { what: 'is longer than a request', spoil: (record: Buffer) => record.fill(255, 0, 4) },
]) {
  test(`a record that ${what} ends the connection`, async (t) => {
    const { stream, client, seal } = await connect(t);
    stream.on('error', () => {}).resume();
    client.write(spoil(seal('GET /v2/')));

    await once(client, 'close');

    assert.equal(stream.destroyed, true);
  });
}

test('what cannot be sealed any more ends the connection, and nothing else', async (t) => {
  const seal = () => {
    throw new Error('the key has sealed all that it may');
  };
  const { stream, client } = await connect(t, { ...createRecordCipher(), seal });
  const failed = once(stream, 'error');
  // As HTTP does: what is written then is sealed in a turn of its own, where nobody catches.
  stream.cork();
  stream.write('HTTP/1.1 ');
  process.nextTick(() => stream.uncork());

  const [error] = await failed;

  assert.match(String(error), /all that it may/);
  if (!client.destroyed) await once(client, 'close');
});

test('a connection that nobody uses is told of, as of any other socket', async (t) => {
  const { stream } = await connect(t);
  (stream as net.Socket).setTimeout(20);

  await once(stream, 'timeout');
});
