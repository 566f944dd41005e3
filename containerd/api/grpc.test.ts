import assert from 'node:assert/strict';
import { once } from 'node:events';
import fs from 'node:fs/promises';
import http2 from 'node:http2';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { createGrpcConnection } from './grpc.ts';
import { encodeFrame, FrameReader, GRPC_MESSAGE_BYTES_MAX } from './grpc-frame.ts';

const SERVICE = { fullName: 'test.Service' };
const text = {
  encode: (message: string) => ({ finish: () => Buffer.from(message) }),
  decode: (bytes: Uint8Array) => Buffer.from(bytes).toString(),
};
const ECHO = { name: 'Echo', requestType: text, responseType: text };
const SOON = { deadlineMs: 5_000 };

type Handler = (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => void;

async function startServer(t: TestContext, handler: Handler) {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'miroir-grpc-'));
  const socket = path.join(folder, 'socket');
  const server = http2.createServer();
  const sessions = new Set<http2.ServerHttp2Session>();
  server.on('session', (session) => sessions.add(session));
  server.on('stream', (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
    stream.on('error', () => {});
    handler(stream, headers);
  });
  server.listen(socket);
  await once(server, 'listening');
  const grpc = createGrpcConnection({ socket, headers: { 'x-namespace': 'k8s.io' } });
  t.after(async () => {
    grpc.close();
    for (const session of sessions) session.destroy();
    server.close();
    await fs.rm(folder, { recursive: true });
  });
  return { grpc, socket, sessions };
}

/** Answers with the messages, then with the status. */
function answer(stream: http2.ServerHttp2Stream, messages: readonly string[], trailers: Record<string, string>): void {
  stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers(trailers));
  for (const message of messages) stream.write(encodeFrame(Buffer.from(message)));
  stream.end();
}

test('a call sends its request and resolves with the response', async (t) => {
  const { grpc } = await startServer(t, (stream, headers) => {
    const frames = new FrameReader();
    stream.on('data', (chunk: Buffer) => {
      const said = [...frames.push(chunk), headers[':path'], headers['x-namespace'], headers['grpc-timeout']];
      answer(stream, [said.join(' ')], { 'grpc-status': '0' });
    });
  });

  const response = await grpc.unary(SERVICE, ECHO, 'hello', SOON, t.signal);

  assert.equal(response, 'hello /test.Service/Echo k8s.io 5000m');
});

test('a stream yields every message, however its bytes are cut', async (t) => {
  const messages = ['', 'a'.repeat(100_000), 'b', 'c'.repeat(20_000)];
  const { grpc } = await startServer(t, (stream) => answer(stream, messages, { 'grpc-status': '0' }));

  assert.deepEqual(await Array.fromAsync(grpc.stream(SERVICE, ECHO, '', SOON, t.signal)), messages);
});

for (const { title, handler, code, message } of [
  {
    title: 'a status in trailers',
    handler: (stream) => answer(stream, ['first'], { 'grpc-status': '5', 'grpc-message': 'not%20here' }),
    code: 'ERR_CONTAINERD_CALL_FAILED',
    message: /Echo: not here/,
  },
  {
    title: 'a status without a body',
    handler: (stream) =>
      stream.respond({ ':status': 200, 'grpc-status': '12', 'grpc-message': '100%' }, { endStream: true }),
    code: 'ERR_CONTAINERD_CALL_FAILED',
    message: /Echo: 100%/,
  },
  {
    title: 'status 14',
    handler: (stream) => answer(stream, [], { 'grpc-status': '14' }),
    code: 'ERR_CONTAINERD_UNAVAILABLE',
    message: /Echo/,
  },
  {
    title: 'no status',
    handler: (stream) => answer(stream, ['x'], {}),
    code: 'ERR_CONTAINERD_UNAVAILABLE',
    message: /does not answer/,
  },
  {
    title: 'no message',
    handler: (stream) => answer(stream, [], { 'grpc-status': '0' }),
    code: 'ERR_CONTAINERD_UNAVAILABLE',
    message: /does not answer/,
  },
  {
    title: 'an HTTP error',
    handler: (stream) => stream.respond({ ':status': 503 }, { endStream: true }),
    code: 'ERR_CONTAINERD_UNAVAILABLE',
    message: /503/,
  },
  {
    title: 'a reset',
    handler: (stream) => stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR),
    code: 'ERR_CONTAINERD_UNAVAILABLE',
    message: /does not answer/,
  },
  {
    title: 'a dropped connection',
    handler: (stream) => stream.session?.destroy(),
    code: 'ERR_CONTAINERD_UNAVAILABLE',
    message: /^containerd does not answer at /,
  },
  {
    title: 'a message of 4 GiB',
    handler: (stream) => {
      stream.respond({ ':status': 200 });
      stream.write(Buffer.from([0, 0xff, 0xff, 0xff, 0xff]));
    },
    code: 'ERR_CONTAINERD_CALL_FAILED',
    message: /4294967295 bytes/,
  },
] as ReadonlyArray<{ title: string; handler: Handler; code: string; message: RegExp }>) {
  test(`${title} is ${code}`, async (t) => {
    const { grpc } = await startServer(t, handler);

    await assert.rejects(grpc.unary(SERVICE, ECHO, '', SOON, t.signal), (error: Error & { code: string }) => {
      assert.equal(error.code, code);
      assert.match(error.message, message);
      return true;
    });
  });
}

test('an answer that does not come is ERR_DEADLINE_EXCEEDED', async (t) => {
  const { grpc } = await startServer(t, () => {});

  const call = grpc.unary(SERVICE, ECHO, '', { deadlineMs: 20 }, t.signal);

  await assert.rejects(call, { code: 'ERR_DEADLINE_EXCEEDED' });
});

test('a call that is aborted is ERR_ABORTED, and the server learns of it', async (t) => {
  const cancelled = Promise.withResolvers<void>();
  const aborting = new AbortController();
  const { grpc } = await startServer(t, (stream) => {
    stream.on('close', () => cancelled.resolve());
    aborting.abort();
  });

  await assert.rejects(grpc.unary(SERVICE, ECHO, '', SOON, aborting.signal), { code: 'ERR_ABORTED' });
  await cancelled.promise;
  await assert.rejects(grpc.unary(SERVICE, ECHO, '', SOON, aborting.signal), { code: 'ERR_ABORTED' });
});

test('a socket that is not there is named', async (t) => {
  const grpc = createGrpcConnection({ socket: '/nowhere/containerd.sock', headers: {} });
  t.after(() => grpc.close());

  await assert.rejects(grpc.unary(SERVICE, ECHO, '', SOON, t.signal), (error: Error & { code: string }) => {
    assert.equal(error.code, 'ERR_CONTAINERD_UNAVAILABLE');
    assert.match(error.message, /\/nowhere\/containerd\.sock .*ENOENT/);
    return true;
  });
});

test('after a lost connection the next call makes a new one', async (t) => {
  const { grpc, sessions } = await startServer(t, (stream) => answer(stream, ['yes'], { 'grpc-status': '0' }));
  await grpc.unary(SERVICE, ECHO, '', SOON, t.signal);
  for (const session of sessions) {
    session.destroy();
    if (!session.destroyed) await once(session, 'close');
  }

  // The client may not have noticed yet; what it throws then says so.
  const again = await grpc.unary(SERVICE, ECHO, '', SOON, t.signal).catch((error: Error & { code: string }) => {
    assert.equal(error.code, 'ERR_CONTAINERD_UNAVAILABLE');
    return grpc.unary(SERVICE, ECHO, '', SOON, t.signal);
  });

  assert.equal(again, 'yes');
  assert.equal(sessions.size, 2);
});

test('a compressed message is refused', () => {
  assert.throws(() => [...new FrameReader().push(Buffer.from([1, 0, 0, 0, 0]))], {
    code: 'ERR_CONTAINERD_CALL_FAILED',
  });
});

test('a message of the largest size passes', () => {
  const frames = new FrameReader();
  const message = Buffer.alloc(GRPC_MESSAGE_BYTES_MAX);

  const [read] = frames.push(encodeFrame(message));

  assert.equal(read?.length, message.length);
});
