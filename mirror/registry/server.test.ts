import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import type { Registry } from '../../common/oci/reference.ts';
import {
  type AskOptions,
  ask,
  startTestMirror,
  type TestMirrorOptions,
} from '../../test/conformance/oci-test-mirror.ts';
import { createMemoryHub } from '../swarm/memory.ts';
import { createRegistryServer } from './server.ts';

const BLOB = randomBytes(100_000);
const MANIFEST = Buffer.from('{"schemaVersion":2,"manifests":[]}');
const ABSENT = `sha256:${'0'.repeat(64)}`;

function start(t: TestContext, options: Partial<TestMirrorOptions> = {}) {
  return startTestMirror(t, { name: 'node', hub: createMemoryHub(), ...options });
}

test('serves its own blobs and manifests with the headers that containerd reads', async (t) => {
  const { store, url } = await start(t);
  const blob = store.put(BLOB);
  const manifest = store.put(MANIFEST);
  store.name('hub.example/library/app:1', manifest, Date.now());

  const base = await ask(`${url}/v2/`);
  const whole = await ask(`${url}/v2/library/app/blobs/${blob}?ns=hub.example`);
  const headed = await ask(`${url}/v2/library/app/blobs/${blob}?ns=hub.example`, { method: 'HEAD' });
  const tagged = await ask(`${url}/v2/library/app/manifests/1?ns=hub.example`);

  assert.equal(base.status, 200);
  assert.ok(whole.body.equals(BLOB));
  for (const { status, headers } of [whole, headed]) {
    assert.equal(status, 200);
    assert.equal(headers['content-length'], String(BLOB.length));
    assert.equal(headers['content-type'], 'application/octet-stream');
    assert.equal(headers['docker-content-digest'], blob);
    assert.equal(headers['accept-ranges'], 'bytes');
    assert.equal(headers['etag'], undefined);
  }
  assert.ok(tagged.body.equals(MANIFEST));
  assert.equal(tagged.headers['content-type'], 'application/vnd.oci.image.index.v1+json');
  assert.equal(tagged.headers['docker-content-digest'], manifest);
});

test('says why something is not here, but to containerd, which would close the connection instead of reading it', async (t) => {
  const { url } = await start(t);
  const headers = { 'User-Agent': 'containerd/2.4.2' };

  for (const kind of ['manifests', 'blobs']) {
    const target = `${url}/v2/library/app/${kind}/${ABSENT}?ns=hub.example`;
    const [told, untold] = [await ask(target), await ask(target, { headers })];

    assert.match(told.body.toString(), /"code":"(MANIFEST|BLOB)_UNKNOWN"/);
    assert.deepEqual([untold.status, untold.headers['content-length'], untold.body.length], [404, '0', 0]);
  }
});

for (const { range, status, from, to } of [
  { range: 'bytes=0-', status: 200, from: 0, to: BLOB.length },
  { range: 'bytes=10-19', status: 206, from: 10, to: 20 },
  { range: 'bytes=99999-', status: 206, from: 99_999, to: BLOB.length },
  { range: 'bytes=-5', status: 206, from: BLOB.length - 5, to: BLOB.length },
  { range: 'bytes=0-1,5-6', status: 200, from: 0, to: BLOB.length },
  { range: 'bytes=5-1', status: 200, from: 0, to: BLOB.length },
]) {
  test(`answers range ${range} by ${status}`, async (t) => {
    const { store, url } = await start(t);
    const blob = store.put(BLOB);

    const answer = await ask(`${url}/v2/app/blobs/${blob}`, { headers: { Range: range } });

    assert.equal(answer.status, status);
    assert.ok(answer.body.equals(BLOB.subarray(from, to)));
    const contentRange = status === 206 ? `bytes ${from}-${to - 1}/${BLOB.length}` : undefined;
    assert.equal(answer.headers['content-range'], contentRange);
  });
}

test('answers 416 with the size when a range starts behind the end', async (t) => {
  const { store, url } = await start(t);
  const blob = store.put(BLOB);

  const answer = await ask(`${url}/v2/app/blobs/${blob}`, { headers: { Range: 'bytes=100000-' } });

  assert.equal(answer.status, 416);
  assert.equal(answer.headers['content-range'], 'bytes */100000');
});

test('ignores a range that comes with If-Range, and never compresses', async (t) => {
  const { store, url } = await start(t);
  const blob = store.put(BLOB);
  const headers = { Range: 'bytes=5-', 'If-Range': '"x"', 'Accept-Encoding': 'zstd,gzip,deflate' };

  const answer = await ask(`${url}/v2/app/blobs/${blob}`, { headers });

  assert.equal(answer.status, 200);
  assert.equal(answer.headers['content-encoding'], undefined);
});

const REFUSED: ReadonlyArray<AskOptions & { target: string; status: number; code: string }> = [
  { target: `/v2/app/blobs/${ABSENT}`, status: 404, code: 'BLOB_UNKNOWN' },
  { target: `/v2/app/blobs/${ABSENT}`, method: 'HEAD', status: 404, code: '' },
  { target: `/v2/app/manifests/${ABSENT}`, status: 404, code: 'MANIFEST_UNKNOWN' },
  { target: '/v2/app/manifests/1?ns=hub.example', status: 404, code: 'MANIFEST_UNKNOWN' },
  { target: '/v2/app/manifests/1', status: 404, code: 'MANIFEST_UNKNOWN' },
  { target: '/v2/a//b/manifests/1', status: 400, code: 'NAME_INVALID' },
  { target: `/v2/app/blobs/${ABSENT}`, method: 'DELETE', status: 405, code: 'UNSUPPORTED' },
  {
    target: '/v2/app/blobs/uploads/',
    method: 'POST',
    headers: { 'Content-Length': '0' },
    status: 405,
    code: 'UNSUPPORTED',
  },
  { target: '/v2/', headers: { 'Content-Length': '5' }, status: 400, code: 'UNSUPPORTED' },
  { target: '/v2/', headers: { 'Transfer-Encoding': 'chunked' }, status: 400, code: 'UNSUPPORTED' },
  { target: '/v2/', headers: { Host: 'evil.example' }, status: 403, code: 'DENIED' },
  { target: '/v2/', headers: { Origin: 'http://evil.example' }, status: 403, code: 'DENIED' },
  { target: '/v2/', headers: { 'Sec-Fetch-Mode': 'no-cors' }, status: 403, code: 'DENIED' },
];
for (const { target, status, code, ...options } of REFUSED) {
  test(`refuses ${JSON.stringify({ target: target.slice(0, 40), ...options })} by ${status}`, async (t) => {
    const { url } = await start(t);

    const answer = await ask(url + target, options);

    assert.equal(answer.status, status);
    if (options.method !== 'HEAD') assert.equal(JSON.parse(answer.body.toString()).errors[0].code, code);
    if (status === 405) assert.equal(answer.headers['allow'], 'GET, HEAD');
  });
}

for (const { what, text } of [
  { what: 'no HTTP', text: 'hello\r\n\r\n' },
  { what: 'an endless header', text: `GET /v2/ HTTP/1.1\r\nX: ${'x'.repeat(20_000)}\r\n\r\n` },
  { what: 'a target with a line break', text: 'GET /v2/\n HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n' },
  {
    what: 'two lengths',
    text: 'GET /v2/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n',
  },
]) {
  test(`answers ${what} by a 4xx and goes on`, async (t) => {
    const { url } = await start(t);

    const received = await exchange(url, text);

    assert.match(received, /^HTTP\/1\.1 4\d\d /);
    assert.equal((await ask(`${url}/v2/`)).status, 200);
  });
}

test('a tag that peers resolved later than this node stands for what they say', async (t) => {
  const hub = createMemoryHub();
  const mirrors = await Promise.all(['a', 'b', 'c'].map((name) => startTestMirror(t, { name, hub })));
  const digests = await Promise.all(
    mirrors.map(async ({ store, ...mirror }, index) => {
      const digest = store.put(Buffer.from(`{"schemaVersion":2,"layers":[],"annotations":{"n":"${index}"}}`));
      store.name('hub.example/library/app:1', digest, [2000, 3000, 1000][index] as number);
      await mirror.advertise();
      return digest;
    }),
  );

  for (const { url } of mirrors) {
    const answer = await ask(`${url}/v2/library/app/manifests/1?ns=hub.example`, { method: 'HEAD' });

    assert.equal(answer.headers['docker-content-digest'], digests[1]);
  }
});

test('a registry that was not configured until now is answered 404 for its tags, not for its digests', async (t) => {
  const seen = new Set<Registry>();
  const introductions = {
    isFirstSeen: async (registry: Registry) => {
      const isFirst = !seen.has(registry);
      seen.add(registry);
      return isFirst;
    },
  };
  const { store, url } = await start(t, { introductions });
  const digest = store.put(MANIFEST);
  store.name('registry.example/app:1', digest, Date.now());

  const byDigest = await ask(`${url}/v2/app/manifests/${digest}?ns=registry.example`);
  const first = await ask(`${url}/v2/app/manifests/1?ns=registry.example`, { method: 'HEAD' });
  const second = await ask(`${url}/v2/app/manifests/1?ns=registry.example`, { method: 'HEAD' });

  assert.deepEqual([byDigest.status, first.status, second.status], [200, 404, 200]);
});

test('mirrors the registries that are listed and no others', async (t) => {
  const { store, url } = await start(t, { registries: ['registry.example' as Registry] });
  const digest = store.put(BLOB);

  const listed = await ask(`${url}/v2/app/blobs/${digest}?ns=registry.example`);
  const other = await ask(`${url}/v2/app/blobs/${digest}?ns=hub.example`);

  assert.equal(listed.status, 200);
  assert.equal(other.status, 404);
});

test('answers 404 to all at once while it is too busy', async (t) => {
  const { store, url, metrics } = await start(t, { isTooBusy: () => true });
  const blob = store.put(BLOB);

  const { status } = await ask(`${url}/v2/library/app/blobs/${blob}?ns=hub.example`);

  assert.equal(status, 404);
  const shed = await metrics.getSingleMetric('miroir_registry_shed_requests_total')?.get();
  assert.equal(shed?.values[0]?.value, 1);
});

test('a manifest that was deleted is gone within a second or so', async (t) => {
  let nowMs = 1_000_000;
  const { store, url } = await start(t, { now: () => nowMs });
  const digest = store.put(MANIFEST);

  const before = await ask(`${url}/v2/app/manifests/${digest}`);
  store.delete(digest);
  nowMs += 1001;
  const after = await ask(`${url}/v2/app/manifests/${digest}`);

  assert.deepEqual([before.status, after.status], [200, 404]);
});

test('content whose file lost its end is not served', async (t) => {
  const { store, url } = await start(t);
  const digest = store.put(BLOB);
  store.truncate(digest, 50);

  const answer = await ask(`${url}/v2/app/blobs/${digest}`);

  assert.equal(answer.status, 404);
});

for (const host of ['0.0.0.0', '10.0.0.1', '::', 'localhost.example']) {
  test(`does not start on ${host}`, () => {
    const create = () => createRegistryServer({} as never, { address: { host, port: 1 }, registries: [] });

    assert.throws(create, { code: 'ERR_CONFIG_INVALID' });
  });
}

test('says which port is taken', async (t) => {
  const { url } = await start(t);
  const port = Number(new URL(url).port);
  const deps = { log: { info: () => {} } } as never;
  const second = createRegistryServer(deps, { address: { host: '127.0.0.1', port }, registries: [] });

  await assert.rejects(second.start(AbortSignal.timeout(5000)), (error: Error & { code: string }) => {
    return error.code === 'ERR_LISTEN_FAILED' && error.message.includes(String(port));
  });
});

/** What comes back until the server closes. */
function exchange(url: string, text: string): Promise<string> {
  return new Promise((resolve) => {
    let received = '';
    const socket = net.connect(Number(new URL(url).port), '127.0.0.1');
    socket.on('data', (bytes: Buffer) => {
      received += bytes.toString('latin1');
    });
    socket.on('error', () => {});
    socket.once('close', () => resolve(received));
    socket.write(text);
  });
}

test('stops as soon as what runs has ended, though its client keeps the connection', { timeout: 8000 }, async (t) => {
  const mirror = await start(t);
  const large = mirror.store.put(randomBytes(8 * 1024 * 1024));
  const agent = new http.Agent({ keepAlive: true });
  t.after(() => agent.destroy());
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    http.get(`${mirror.url}/v2/app/blobs/${large}`, { agent }, resolve).once('error', reject);
  });

  const stopped = mirror.stop();
  const parts: Buffer[] = await response.toArray();
  await stopped;

  assert.equal(Buffer.concat(parts).length, 8 * 1024 * 1024);
});
