import assert from 'node:assert/strict';
import fs from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { silentLogger } from '../../common/log.ts';
import type { Registry } from '../../common/oci/reference.ts';
import { ask } from '../../test/conformance/oci-test-mirror.ts';
import { until } from '../../test/lab/namespace.ts';
import { createAgent } from './agent.ts';

const PATIENCE_MS = 10_000;

/** A port that nobody has now. */
async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function start(t: TestContext, waitForMirrorMs: number) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-agent-'));
  const tokenFile = path.join(folder, 'token');
  fs.writeFileSync(tokenFile, 'first\n');
  const [registry, health, mirror] = await Promise.all([freePort(), freePort(), freePort()]);
  const at = (port: number) => ({ host: '127.0.0.1', port });
  const where = { defaultRegistry: 'hub.example' as Registry, certsDir: folder, registries: [], proxy: {} };
  const options = { ...where, answerTags: true, waitForMirrorMs, tokenFile };
  const agent = createAgent(
    { log: silentLogger },
    { ...options, registryAddress: at(registry), healthAddress: at(health), mirror: at(mirror) },
  );
  await agent.start(t.signal);
  t.after(async () => {
    await agent.stop();
    fs.rmSync(folder, { recursive: true });
  });
  const ready = async () => (await ask(`http://127.0.0.1:${health}/readyz`)).status;
  return { registry: `http://127.0.0.1:${registry}`, mirror, ready, tokenFile };
}

/** A mirror that lets in who has the right token, and has nothing. */
async function startMirror(t: TestContext, port: number, tokens: string[]): Promise<void> {
  const server = http.createServer(({ headers, url }, response) => {
    tokens.push(String(headers['miroir-pod-token']));
    response.writeHead(url === '/v2/' ? 200 : 404, { 'content-length': 0 }).end();
  });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await new Promise<void>((resolve) => {
    server.listen(port, '127.0.0.1', resolve);
  });
}

test('is ready when the mirror of the node answers, and reads its token anew', async (t) => {
  const { registry, mirror, ready, tokenFile } = await start(t, 60_000);
  assert.equal(await ready(), 503);
  const tokens: string[] = [];

  await startMirror(t, mirror, tokens);
  await until(async () => (await ready()) === 200, AbortSignal.timeout(PATIENCE_MS));
  fs.writeFileSync(tokenFile, 'second\n');
  const { status } = await ask(`${registry}/v2/app/manifests/1`);

  assert.equal(status, 404);
  assert.deepEqual([tokens.at(0), tokens.at(-1)], ['first', 'second']);
});

test('is ready without a mirror after a while, and sends programs to the registry', async (t) => {
  const { registry, ready } = await start(t, 100);

  await until(async () => (await ready()) === 200, AbortSignal.timeout(PATIENCE_MS));
  const { status } = await ask(`${registry}/v2/app/manifests/1`);

  assert.equal(status, 404);
});
