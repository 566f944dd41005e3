import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { hasCode } from '../../common/errors.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import { createUrlAsker } from './ask-url.ts';
import { type AskedContent, createRegistryClient } from './registry-client.ts';

const DIGEST = `sha256:${'a'.repeat(64)}` as Digest;
const CONTENT: AskedContent = {
  kind: 'manifest',
  registry: 'hub.example' as Registry,
  repository: 'team/app' as Repository,
  digest: DIGEST,
};
const PATH = `/v2/team/app/manifests/${DIGEST}`;
const RIGHT = `Basic ${Buffer.from('me:secret').toString('base64')}`;
const WRONG = `Basic ${Buffer.from('me:guess').toString('base64')}`;

interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

type Handler = (request: { readonly path: string; readonly authorization: string | undefined }) => Reply;

const HAS_IT: Reply = { status: 200, headers: { 'docker-content-digest': DIGEST } };
const ABSENT: Reply = { status: 404, headers: { 'content-type': 'application/json' } };
const refuses = (challenge: string): Reply => ({ status: 401, headers: { 'www-authenticate': challenge } });

async function serve(t: TestContext, handler: Handler) {
  const seen: string[] = [];
  const server = http.createServer((request, response) => {
    const { authorization } = request.headers;
    seen.push(`${request.method} ${request.url} ${authorization ?? '-'}`);
    const { status, headers = {}, body = '' } = handler({ path: request.url ?? '', authorization });
    response.writeHead(status, headers).end(request.method === 'HEAD' ? undefined : body);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

function ask(t: TestContext, url: string) {
  const urls = createUrlAsker();
  t.after(() => urls.close());
  const client = createRegistryClient({
    urls,
    now: () => 0,
    findUpstream: async () => ({ url: `${url}/v2`, ca: [], client: [], isVerified: true }),
  });
  const signal = AbortSignal.timeout(5000);
  return {
    right: (authorization?: string, content = CONTENT) => client.rightTo(content, authorization, signal),
    isThere: () => client.isThere(CONTENT.registry, signal),
  };
}

const isUnavailable = (error: unknown) => hasCode(error, 'ERR_REGISTRY_UNAVAILABLE');

test('what a registry gives without a question is public, and no credentials are sent', async (t) => {
  const { url, seen } = await serve(t, () => HAS_IT);

  const right = await ask(t, url).right(RIGHT);

  assert.equal(right, 'public');
  assert.deepEqual(seen, [`HEAD ${PATH} -`]);
});

test('a registry that asks for Basic is sent the credentials', async (t) => {
  const { url, seen } = await serve(t, ({ authorization }) =>
    authorization === RIGHT ? HAS_IT : refuses('Basic realm="r"'),
  );
  const { right } = ask(t, url);

  assert.deepEqual([await right(), await right(WRONG), await right(RIGHT)], ['denied', 'denied', 'allowed']);
  assert.equal(seen.length, 3, 'it says once how it asks');
});

for (const isForEverybody of [true, false]) {
  test(`a token is bought with the credentials${isForEverybody ? ', or without any' : ''}`, async (t) => {
    const registry = await serve(t, ({ path, authorization }) => {
      if (path.startsWith('/token')) {
        const isSold = authorization === RIGHT || (authorization === undefined && isForEverybody);
        return isSold ? { status: 200, body: '{"access_token":"t0k"}' } : { status: 401 };
      }
      if (authorization === 'Bearer t0k') return HAS_IT;
      return refuses(`Bearer realm="${registry.url}/token",service="hub",scope="repository:team/app:pull"`);
    });
    const { right } = ask(t, registry.url);

    assert.equal(await right(), isForEverybody ? 'public' : 'denied');
    assert.equal(await right(WRONG), 'denied');
    assert.equal(await right(RIGHT), 'allowed');
    const bought = registry.seen.filter((line) => line.startsWith('GET /token'));
    assert.ok(bought.every((line) => line.includes('?service=hub&scope=repository%3Ateam%2Fapp%3Apull ')));
    assert.ok(registry.seen.every((line) => line.startsWith('GET /token') || !line.endsWith(RIGHT)));
  });
}

for (const realm of ['ftp://h/token', 'http://user:pw@127.0.0.1/token', 'token', '', 'file:///etc/passwd']) {
  test(`no token is bought at '${realm}'`, async (t) => {
    const { url } = await serve(t, () => refuses(`Bearer realm="${realm}"`));

    assert.equal(await ask(t, url).right(RIGHT), 'denied');
  });
}

test('another origin that a registry points to gets no credentials', async (t) => {
  const other = await serve(t, () => HAS_IT);
  const registry = await serve(t, ({ authorization }) =>
    authorization === RIGHT ? { status: 307, headers: { location: `${other.url}/x` } } : refuses('Basic realm="r"'),
  );

  assert.equal(await ask(t, registry.url).right(RIGHT), 'allowed');
  assert.deepEqual(other.seen, ['HEAD /x -']);
});

for (const { title, reply, right } of [
  { title: 'a manifest that is not there', reply: ABSENT, right: 'absent' },
  { title: 'a refusal without a challenge', reply: { status: 401 }, right: 'denied' },
  { title: 'a page to log in', reply: { status: 200, headers: { 'content-type': 'text/html' } }, right: 'denied' },
  {
    title: 'another digest than the one asked for',
    reply: { status: 200, headers: { 'docker-content-digest': `sha256:${'b'.repeat(64)}` } },
    right: 'denied',
  },
  { title: 'a loop of redirects', reply: { status: 302, headers: { location: PATH } }, right: 'denied' },
] as const) {
  test(`${title} gives no right`, async (t) => {
    const { url } = await serve(t, () => reply);

    assert.equal(await ask(t, url).right(), right);
  });
}

for (const [title, reply] of Object.entries({
  'answers 503': { status: 503 },
  'answers 429': { status: 429 },
  'is a proxy without a registry behind it': { status: 404, headers: { 'content-type': 'text/plain' } },
})) {
  test(`a registry that ${title} cannot tell, and is away`, async (t) => {
    const { url } = await serve(t, () => reply);
    const { right, isThere } = ask(t, url);

    await assert.rejects(right(), isUnavailable);
    assert.equal(await isThere(), false);
  });
}

test('a registry that chokes on credentials cannot tell, but is there', async (t) => {
  const { url } = await serve(t, ({ authorization }) =>
    authorization === undefined ? refuses('Basic realm="r"') : { status: 500 },
  );
  const { right, isThere } = ask(t, url);

  await assert.rejects(right(WRONG), isUnavailable);
  assert.equal(await isThere(), true);
});

test('a token that never ends, and a registry that refuses connections, are no answers', async (t) => {
  const registry = await serve(t, ({ path }) =>
    path.startsWith('/token')
      ? { status: 200, body: `{"token":"${'x'.repeat(100_000)}"}` }
      : refuses(`Bearer realm="${registry.url}/token"`),
  );

  await assert.rejects(ask(t, registry.url).right(), isUnavailable);
  await assert.rejects(ask(t, 'http://127.0.0.1:1').right(), isUnavailable);
  assert.equal(await ask(t, 'http://127.0.0.1:1').isThere(), false);
});
