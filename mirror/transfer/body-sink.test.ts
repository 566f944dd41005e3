import assert from 'node:assert/strict';
import { once } from 'node:events';
import http, { type ServerResponse } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { responseSink } from './body-sink.ts';

/** A response to a client that leaves when it has the head. */
async function startAnswer(t: TestContext, leave: (client: net.Socket) => void): Promise<ServerResponse> {
  const server = http.createServer().listen(0, '127.0.0.1');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, 'listening');
  const client = net.connect((server.address() as AddressInfo).port, '127.0.0.1').on('error', () => {});
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  client.once('data', () => leave(client));
  const [, response] = (await once(server, 'request')) as [unknown, ServerResponse];
  response.writeHead(200, { 'Content-Length': 1_000_000 });
  response.flushHeaders();
  return response;
}

for (const [how, leave] of [
  ['a reset', (client: net.Socket) => client.resetAndDestroy()],
  ['a close', (client: net.Socket) => client.destroy()],
  ['a FIN', (client: net.Socket) => client.end()],
] as const) {
  test(`all that was written is told of once, whenever ${how} comes`, { timeout: 10_000 }, async (t) => {
    const response = await startAnswer(t, leave);
    const sink = responseSink(response);
    let [written, told] = [0, 0];
    // In each turn, so that one of them is the one in which the client's end is noticed.
    while (!sink.gone.aborted && written < 100_000) {
      sink.write(Buffer.alloc(10), () => {
        told += 1;
      });
      written += 1;
      await new Promise(setImmediate);
    }
    sink.write(Buffer.alloc(10), () => {
      told += 1;
    });

    assert.equal(told, written + 1);
  });
}
