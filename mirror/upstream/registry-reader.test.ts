import assert from 'node:assert/strict';
import { once } from 'node:events';
import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { type TestContext, test } from 'node:test';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import { createUrlAsker } from './ask-url.ts';
import { createRegistryReader, type Part } from './registry-reader.ts';

const BLOB = {
  kind: 'blob',
  registry: 'hub.example' as Registry,
  repository: 'team/app' as Repository,
  digest: `sha256:${'a'.repeat(64)}` as Digest,
} as const;
const REST = { start: 4, end: 8 };
const PATH = `/v2/team/app/blobs/${BLOB.digest}`;
const BASIC = `Basic ${Buffer.from('me:secret').toString('base64')}`;

type Handler = (request: IncomingMessage, response: ServerResponse, own: string) => void;

async function serve(t: TestContext, handler: Handler) {
  const seen: string[] = [];
  const server = http.createServer((request, response) => {
    const { authorization = '-', range = '-' } = request.headers;
    seen.push(`${request.url} ${authorization} ${range}`);
    handler(request, response, url());
  });
  const url = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => server.close());
  return { url: url(), seen };
}

async function read(t: TestContext, url: string, authorization?: string, part: Part = REST) {
  const urls = createUrlAsker();
  t.after(() => urls.close());
  const reader = createRegistryReader({
    urls,
    findUpstream: async () => ({ url: `${url}/v2`, ca: [], client: [], isVerified: true }),
  });
  const got = await reader.read(BLOB, part, authorization, AbortSignal.timeout(5000));
  return got && { skip: got.skip, text: await text(got.body) };
}

const sendRest = (response: ServerResponse, more: http.OutgoingHttpHeaders = {}) =>
  response.writeHead(206, { 'content-range': 'bytes 4-7/8', 'content-length': 4, ...more }).end('efgh');

test('asks for exactly what is missing', async (t) => {
  const { url, seen } = await serve(t, (_request, response) => sendRest(response));

  assert.deepEqual(await read(t, url, BASIC), { skip: 0, text: 'efgh' });
  assert.deepEqual(seen, [`${PATH} - bytes=4-7`]);
});

test('buys a token where one is asked for, without credentials for what everybody may have', async (t) => {
  for (const [authorization, shown] of [
    [undefined, '-'],
    [BASIC, BASIC],
  ] as const) {
    const { url, seen } = await serve(t, ({ url: path, headers }, response, own) => {
      if (path?.startsWith('/token')) return void response.end('{"token":"sold"}');
      if (headers.authorization === 'Bearer sold') return void sendRest(response);
      response.writeHead(401, { 'www-authenticate': `Bearer realm="${own}/token",service="lab"` }).end();
    });

    assert.deepEqual(await read(t, url, authorization), { skip: 0, text: 'efgh' });
    assert.deepEqual(seen, [
      `${PATH} - bytes=4-7`,
      `/token?service=lab&scope=repository%3Ateam%2Fapp%3Apull ${shown} -`,
      `${PATH} Bearer sold bytes=4-7`,
    ]);
  }
});

test('shows credentials where they are asked for, and not where the registry points to', async (t) => {
  const storage = await serve(t, (_request, response) => sendRest(response));
  const { url, seen } = await serve(t, ({ headers }, response) => {
    if (headers.authorization === BASIC) response.writeHead(307, { location: `${storage.url}/blob` }).end();
    else response.writeHead(401, { 'www-authenticate': 'Basic realm="lab"' }).end();
  });

  assert.deepEqual(await read(t, url, BASIC), { skip: 0, text: 'efgh' });
  assert.deepEqual(seen, [`${PATH} - bytes=4-7`, `${PATH} ${BASIC} bytes=4-7`]);
  assert.deepEqual(storage.seen, ['/blob - bytes=4-7']);
});

for (const { title, handler, expected } of [
  {
    title: 'the whole of it, with what comes before to be skipped',
    handler: (_request, response) => void response.writeHead(200, { 'content-length': 8 }).end('abcdefgh'),
    expected: { skip: 4, text: 'abcdefgh' },
  },
  { title: 'nothing of a refusal', handler: (_request, response) => void response.writeHead(401).end() },
  { title: 'nothing of what is shorter', handler: (_request, response) => void response.end('abcdef') },
  {
    title: 'nothing of a page to log in',
    handler: (_request, response) =>
      void response.writeHead(200, { 'content-type': 'text/html' }).end('log in, please'),
  },
  {
    title: 'nothing of another blob',
    handler: (_request, response) => void sendRest(response, { 'docker-content-digest': `sha256:${'b'.repeat(64)}` }),
  },
  {
    title: 'nothing of what was compressed on the way',
    handler: (_request, response) => void sendRest(response, { 'content-encoding': 'gzip' }),
  },
  { title: 'nothing of a registry that breaks off', handler: (_request, response) => void response.destroy() },
] satisfies { title: string; handler: Handler; expected?: object }[]) {
  test(`reads ${title}`, async (t) => {
    const { url } = await serve(t, handler);

    assert.deepEqual(await read(t, url), expected);
  });
}
