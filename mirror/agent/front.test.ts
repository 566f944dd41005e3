import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Registry as MetricsRegistry } from 'prom-client';
import { formatHostPort, type HostPort } from '../../common/host-port.ts';
import { silentLogger } from '../../common/log.ts';
import type { Registry } from '../../common/oci/reference.ts';
import { ask, startTestMirror } from '../../test/conformance/oci-test-mirror.ts';
import type { Guard } from '../registry/request-guard.ts';
import { createMemoryHub } from '../swarm/memory.ts';
import { createUrlAsker } from '../upstream/ask-url.ts';
import { createRegistryReader } from '../upstream/registry-reader.ts';
import { createFront, createFrontMetrics } from './front.ts';
import { createMirrorClient } from './mirror-client.ts';
import type { PassOnOptions } from './pass-on.ts';

const BLOB = randomBytes(3_000_000);
const MANIFEST = Buffer.from('{"schemaVersion":2,"layers":[]}');
const REGISTRY = 'hub.example' as Registry;
const ABSENT = `sha256:${'0'.repeat(64)}`;

/** An agent in front of whatever listens at an address. */
async function startFront(
  t: TestContext,
  mirror: HostPort,
  options: { answerTags?: boolean; headTimeoutMs?: number; registry?: HostPort } & PassOnOptions = {},
) {
  const { answerTags = false, headTimeoutMs, registry = { host: '127.0.0.1', port: 1 }, ...patience } = options;
  const metrics = createFrontMetrics(new MetricsRegistry());
  const client = createMirrorClient(
    { token: async () => 'token', log: silentLogger, now: () => performance.now() },
    { mirror, ...(headTimeoutMs !== undefined && { headTimeoutMs }) },
  );
  const urls = createUrlAsker();
  const upstream = { url: `http://${formatHostPort(registry)}/v2`, ca: [], client: [], isVerified: true };
  const front = createFront(
    {
      mirror: client,
      registry: createRegistryReader({ urls, findUpstream: async () => upstream }),
      log: silentLogger,
      metrics,
    },
    {
      address: { host: '127.0.0.1', port: 0 },
      defaultRegistry: REGISTRY,
      answerTags,
      ...patience,
    },
  );
  await front.start(t.signal);
  t.after(async () => {
    client.close();
    urls.close();
    await front.stop();
  });
  const outcomes = async () =>
    Object.fromEntries((await metrics.requests.get()).values.map(({ labels, value }) => [labels.outcome, value]));
  return { url: `http://${formatHostPort(front.address())}`, outcomes };
}

/** A mirror that serves pods, and an agent before it. */
async function start(t: TestContext, options: { answerTags?: boolean; guard?: Guard } = {}) {
  const guard = options.guard ?? (async () => undefined);
  const mirror = await startTestMirror(t, { name: 'n1', hub: createMemoryHub(), guard });
  const front = await startFront(t, mirror.podAddress ?? assert.fail('it does not listen'), options);
  return { ...mirror, ...front };
}

/** Something that is no mirror. */
async function startServer(t: TestContext, handler: http.RequestListener): Promise<HostPort> {
  const server = http.createServer(handler);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

test('gives blobs, ranges and manifests by digest, as the mirror does', async (t) => {
  const { store, url, outcomes } = await start(t);
  const blob = store.put(BLOB);
  const manifest = store.put(MANIFEST);

  const whole = await ask(`${url}/v2/hub.example/app/blobs/${blob}`);
  const head = await ask(`${url}/v2/hub.example/app/blobs/${blob}`, { method: 'HEAD' });
  const part = await ask(`${url}/v2/app/blobs/${blob}?ns=hub.example`, { headers: { Range: 'bytes=10-19' } });
  const behind = await ask(`${url}/v2/app/blobs/${blob}`, { headers: { Range: 'bytes=3000000-' } });
  const named = await ask(`${url}/v2/app/manifests/${manifest}`);
  const base = await ask(`${url}/v2/`);

  assert.ok(whole.body.equals(BLOB));
  assert.equal(head.headers['content-length'], String(BLOB.length));
  assert.deepEqual([part.status, part.headers['content-range']], [206, `bytes 10-19/${BLOB.length}`]);
  assert.ok(part.body.equals(BLOB.subarray(10, 20)));
  assert.equal(behind.status, 416);
  assert.ok(named.body.equals(MANIFEST));
  assert.equal(named.headers['docker-content-digest'], manifest);
  assert.equal(base.status, 200);
  assert.deepEqual(await outcomes(), { served: 5 });
});

test('leaves tags to the registry, unless it is told to answer them', async (t) => {
  for (const answerTags of [false, true]) {
    const { store, url, outcomes } = await start(t, { answerTags });
    store.name('hub.example/app:1', store.put(MANIFEST), Date.now());

    const { status } = await ask(`${url}/v2/app/manifests/1`);

    assert.equal(status, answerTags ? 200 : 404);
    assert.deepEqual(await outcomes(), answerTags ? { served: 1 } : { left: 1 });
  }
});

test('is for the programs of its pod: no writes, no other host, no browser', async (t) => {
  const { url } = await start(t);

  const push = await ask(`${url}/v2/app/blobs/uploads/`, { method: 'POST', headers: { 'Content-Length': '0' } });
  const foreign = await ask(`${url}/v2/`, { headers: { Host: 'evil.example' } });
  const page = await ask(`${url}/v2/`, { headers: { Origin: 'http://evil.example' } });

  assert.deepEqual([push.status, foreign.status, page.status], [405, 403, 403]);
});

test('shows the token and the credentials of the client, and passes on a challenge', async (t) => {
  const seen: http.IncomingHttpHeaders[] = [];
  const mirror = await startServer(t, ({ headers }, response) => {
    seen.push(headers);
    response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="x"', 'Content-Length': 0 }).end();
  });
  const { url, outcomes } = await startFront(t, mirror);

  const { status, headers } = await ask(`${url}/v2/app/blobs/${ABSENT}`, {
    headers: { Authorization: 'Basic eDp5', Cookie: 'a=b', 'Miroir-Pod-Token': 'forged' },
  });

  assert.deepEqual([status, headers['www-authenticate']], [401, 'Basic realm="x"']);
  const [{ authorization, cookie, 'miroir-pod-token': token } = {}] = seen;
  assert.deepEqual(
    { authorization, cookie, token },
    { authorization: 'Basic eDp5', cookie: undefined, token: 'token' },
  );
  assert.deepEqual(await outcomes(), { challenged: 1 });
});

for (const { title, outcome, guard } of [
  { title: 'that has no such content', outcome: 'absent', guard: async () => undefined },
  {
    title: 'that refuses the pod',
    outcome: 'refused',
    guard: async () => ({ status: 403, code: 'DENIED', message: 'no' }) as const,
  },
] satisfies { title: string; outcome: string; guard: Guard }[]) {
  test(`a mirror ${title} sends the client to the registry`, async (t) => {
    const { url, outcomes } = await start(t, { guard });

    const { status } = await ask(`${url}/v2/app/blobs/${ABSENT}`);

    assert.equal(status, 404);
    assert.deepEqual(await outcomes(), { [outcome]: 1 });
  });
}

test('the rest of an image that was begun here comes from its registry, for who does not go there by itself', async (t) => {
  const asked: (string | undefined)[] = [];
  const registry = await startServer(t, ({ url }, response) => {
    asked.push(url);
    response.end(BLOB);
  });
  const mirror = await startTestMirror(t, { name: 'n1', hub: createMemoryHub(), guard: async () => undefined });
  const { url, outcomes } = await startFront(t, mirror.podAddress ?? assert.fail('it does not listen'), { registry });
  const digest = mirror.store.put(Buffer.from(JSON.stringify({ schemaVersion: 2, layers: [{ digest: ABSENT }] })));
  const get = (headers = {}) => ask(`${url}/v2/app/blobs/${ABSENT}`, { headers });

  const before = await get();
  await ask(`${url}/v2/app/manifests/${digest}`);
  const byItself = await get({ 'User-Agent': 'buildkit/v0.25' });
  const after = await get();

  assert.deepEqual([before.status, byItself.status, after.status], [404, 404, 200]);
  assert.ok(after.body.equals(BLOB));
  assert.deepEqual(asked, [`/v2/app/blobs/${ABSENT}`]);
  assert.deepEqual(await outcomes(), { absent: 2, served: 1, fetched: 1 });
});

test('a mirror that hangs is waited for once, and one that is gone not at all', async (t) => {
  let asked = 0;
  const hung = await startFront(t, await startServer(t, () => void asked++), { headTimeoutMs: 50 });
  const gone = await startFront(t, { host: '127.0.0.1', port: 1 });

  const statuses = [];
  for (const { url } of [hung, hung, gone]) statuses.push((await ask(`${url}/v2/app/blobs/${ABSENT}`)).status);

  assert.deepEqual(statuses, [404, 404, 404]);
  assert.equal(asked, 1);
  assert.deepEqual(await hung.outcomes(), { unreachable: 2 });
});

test('a range that breaks off goes on where it was', async (t) => {
  let asked = 0;
  const mirror = await startServer(t, ({ headers: { range = '' } }, response) => {
    const [, from = '', to = ''] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? [];
    const bytes = BLOB.subarray(Number(from), Number(to) + 1);
    response.writeHead(206, {
      'Content-Length': bytes.length,
      'Content-Range': `bytes ${from}-${to}/${BLOB.length}`,
    });
    asked += 1;
    if (asked === 2) response.end(bytes);
    else response.write(bytes.subarray(0, 1000), () => response.destroy());
  });
  const { url } = await startFront(t, mirror);

  const { body } = await ask(`${url}/v2/app/blobs/${ABSENT}`, { headers: { Range: 'bytes=500000-1500000' } });

  assert.ok(body.equals(BLOB.subarray(500_000, 1_500_001)));
  assert.equal(asked, 2);
});

test('a client that goes on at the registry by itself is told of a break at once', async (t) => {
  let asked = 0;
  const mirror = await startServer(t, (_request, response) => {
    asked += 1;
    response.writeHead(200, { 'Content-Length': BLOB.length });
    response.write(BLOB.subarray(0, 1000), () => response.destroy());
  });
  const { url } = await startFront(t, mirror);

  const { isShort } = await ask(`${url}/v2/app/blobs/${ABSENT}`, { headers: { 'User-Agent': 'buildkit/v0.25' } });

  assert.deepEqual([isShort, asked], [true, 1]);
});

test('a mirror that breaks off again and again is not asked for ever', async (t) => {
  let asked = 0;
  const mirror = await startServer(t, (_request, response) => {
    asked += 1;
    const range = { 'Content-Range': `bytes 0-${BLOB.length - 1}/${BLOB.length}` };
    response.writeHead(asked === 1 ? 200 : 206, { 'Content-Length': BLOB.length, ...range });
    response.flushHeaders();
    setImmediate(() => response.destroy());
  });
  const { url } = await startFront(t, mirror);

  const { isShort } = await ask(`${url}/v2/app/blobs/${ABSENT}`);

  assert.deepEqual([isShort, asked], [true, 21]);
});

test('a manifest that does not come whole sends the client to the registry', async (t) => {
  const mirror = await startServer(t, (_request, response) => {
    response.writeHead(200, { 'Content-Length': MANIFEST.length });
    response.write(MANIFEST.subarray(0, 10), () => response.destroy());
  });
  const { url } = await startFront(t, mirror);

  const { status } = await ask(`${url}/v2/app/manifests/${ABSENT}`);

  assert.equal(status, 404);
});

test('a client that goes away ends the request to the mirror', async (t) => {
  const { promise: ended, resolve } = Promise.withResolvers<void>();
  const mirror = await startServer(t, (_request, response) => {
    response.once('close', resolve);
    response.writeHead(200, { 'Content-Length': BLOB.length });
    response.write(BLOB.subarray(0, 1000));
  });
  const { url } = await startFront(t, mirror);

  const request = http.get(`${url}/v2/app/blobs/${ABSENT}`);
  request.once('response', (response) => response.destroy());
  request.once('error', () => {});

  await ended;
});
