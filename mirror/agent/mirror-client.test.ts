import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import test from 'node:test';
import { silentLogger } from '../../common/log.ts';
import { createMirrorClient } from './mirror-client.ts';

test('a mirror that hangs is left alone for longer each time, until it answers', async (t) => {
  let isHanging = true;
  let asked = 0;
  const server = http.createServer((_request, response) => {
    asked += 1;
    if (!isHanging) response.writeHead(200, { 'content-length': 0 }).end();
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  let clock = 0;
  const client = createMirrorClient(
    { token: async () => 'token', log: silentLogger, now: () => clock },
    { mirror: { host: '127.0.0.1', port: (server.address() as AddressInfo).port }, headTimeoutMs: 50 },
  );
  t.after(() => {
    client.close();
    server.closeAllConnections();
    server.close();
  });
  const isAskedAfter = async (seconds: number) => {
    clock += seconds * 1000;
    const before = asked;
    const answered = await client.ask({ method: 'GET', path: '/v2/', headers: {} }, t.signal);
    answered?.resume();
    return asked > before;
  };

  const pauses = [await isAskedAfter(0), await isAskedAfter(9), await isAskedAfter(1), await isAskedAfter(19)];
  isHanging = false;
  const recovery = [await isAskedAfter(1), await isAskedAfter(0)];

  assert.deepEqual(pauses, [true, false, true, false]);
  assert.deepEqual(recovery, [true, true]);
});
