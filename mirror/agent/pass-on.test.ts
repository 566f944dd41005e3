import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import http, { type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { silentLogger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import { ask } from '../../test/conformance/oci-test-mirror.ts';
import { createUrlAsker } from '../upstream/ask-url.ts';
import { createRegistryReader } from '../upstream/registry-reader.ts';
import { createMirrorClient } from './mirror-client.ts';
import { type PassOnOptions, passOn, rangeOf } from './pass-on.ts';

const BLOB = randomBytes(3_000_000);
const NAME = {
  kind: 'blob',
  registry: 'hub.example' as Registry,
  repository: 'app' as Repository,
  digest: `sha256:${'0'.repeat(64)}` as Digest,
} as const;
const QUICK = { resumeMs: 5000, mirrorMs: 100, stallMs: 300 };
const LATER = { ...QUICK, mirrorMs: 4000 };

/** What is done with a request for the blob from a byte on. */
type Answering = (response: ServerResponse, start: number) => void;

const begin = (response: ServerResponse, start: number) => {
  const range = { 'content-range': `bytes ${start}-${BLOB.length - 1}/${BLOB.length}` };
  response.writeHead(start === 0 ? 200 : 206, { 'content-length': BLOB.length - start, ...(start > 0 && range) });
};
const part = (start: number) => BLOB.subarray(start, start + 1_000_000);
const whole: Answering = (response, start) => {
  begin(response, start);
  response.end(BLOB.subarray(start));
};
const breaksOff: Answering = (response, start) => {
  begin(response, start);
  response.write(part(start), () => response.destroy());
};
const stands: Answering = (response, start) => {
  begin(response, start);
  response.write(part(start));
};
const absent: Answering = (response) => response.writeHead(404, { 'content-length': 0 }).end();
const resets: Answering = (response) => response.destroy();
const knowsNoRanges: Answering = (response) =>
  response.writeHead(200, { 'content-length': BLOB.length }).write(BLOB, () => response.end());
const isElsewhere: Answering = (response) =>
  response.writeHead(206, { 'content-length': 3, 'content-range': `bytes 5-7/${BLOB.length}` }).end('abc');
const isPage: Answering = (response) => response.writeHead(200, { 'content-type': 'text/html' }).end('log in');
const isTooMuch: Answering = (response, start) => {
  response.writeHead(206, { 'content-range': `bytes ${start}-${BLOB.length - 1}/${BLOB.length}` });
  response.write(BLOB.subarray(start));
  response.end(BLOB);
};

async function serve(t: TestContext, handler: RequestListener) {
  const server = http.createServer(handler).listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { host: '127.0.0.1', port: (server.address() as AddressInfo).port };
}

/** Answers the first request in the first way, and all after the last in the last. */
async function serveBlob(t: TestContext, ways: readonly Answering[]) {
  const starts: number[] = [];
  const address = await serve(t, ({ headers: { range = '' } }, response) => {
    const start = Number(/^bytes=(\d+)-/.exec(range)?.[1] ?? 0);
    ways[Math.min(starts.push(start), ways.length) - 1]?.(response, start);
  });
  return { address, starts };
}

/** Gets the blob as a program in the pod does. */
async function get(
  t: TestContext,
  ways: { mirror: readonly Answering[]; registry: readonly Answering[] },
  options: PassOnOptions,
) {
  const [mirror, registry] = await Promise.all([serveBlob(t, ways.mirror), serveBlob(t, ways.registry)]);
  const urls = createUrlAsker();
  const client = createMirrorClient(
    { token: async () => 'token', log: silentLogger, now: () => performance.now() },
    { mirror: mirror.address },
  );
  t.after(() => {
    urls.close();
    client.close();
  });
  const upstream = { url: `http://127.0.0.1:${registry.address.port}/v2`, ca: [], client: [], isVerified: true };
  const from: string[] = [];
  const deps = {
    mirror: client,
    registry: createRegistryReader({ urls, findUpstream: async () => upstream }),
    resumed: (source: string) => void from.push(source),
  };
  const answer = async (response: ServerResponse) => {
    const request = { method: 'GET', path: '/', headers: {} };
    const body = await client.ask(request, t.signal);
    const range = body && rangeOf(body);
    assert.ok(body && range);
    response.writeHead(200, { 'content-length': BLOB.length });
    await passOn(deps, options, { blob: NAME, request, body, range }, response, t.signal);
  };
  const agent = await serve(t, (_request, response) => void answer(response));
  const { body, isShort } = await ask(`http://127.0.0.1:${agent.port}/`);
  return { body, isShort, from, asked: { mirror: mirror.starts, registry: registry.starts } };
}

for (const { title, mirror, registry = [whole], from, options = QUICK } of [
  {
    title: 'that is back in time goes on itself',
    mirror: [breaksOff, resets, whole],
    from: ['mirror'],
    options: LATER,
  },
  {
    title: 'that knows nothing yet after its start is waited for too',
    mirror: [breaksOff, resets, absent, whole],
    from: ['mirror'],
    options: LATER,
  },
  { title: 'that stays away is followed by the registry', mirror: [breaksOff, resets], from: ['registry'] },
  { title: 'that has nothing more, by it at once', mirror: [breaksOff, absent], from: ['registry'], options: LATER },
  { title: 'that stands still, by it at once', mirror: [stands], from: ['registry'], options: LATER },
  {
    title: 'is left for a registry that knows no ranges',
    mirror: [stands],
    registry: [knowsNoRanges],
    from: ['registry'],
  },
  { title: 'is left for one that sends more', mirror: [stands], registry: [isTooMuch], from: ['registry'] },
  {
    title: 'and a registry that break off in turn end it together',
    mirror: [breaksOff, absent],
    registry: [breaksOff, whole],
    from: ['registry', 'registry'],
  },
  ...[resets, absent, isElsewhere, isPage].map((wrong) => ({
    title: `goes on after a registry of no help (${wrong.name})`,
    mirror: [stands, whole],
    registry: [wrong],
    from: ['mirror'],
  })),
] satisfies {
  title: string;
  mirror: Answering[];
  registry?: Answering[];
  from: string[];
  options?: PassOnOptions;
}[]) {
  test(`a mirror ${title}`, async (t) => {
    const got = await get(t, { mirror, registry }, options);

    assert.deepEqual([got.isShort, got.from], [false, from]);
    assert.ok(got.body.equals(BLOB));
  });
}

test('the registry is asked for what is missing, and not while the mirror may be back', async (t) => {
  const { asked } = await get(t, { mirror: [breaksOff, resets, whole], registry: [whole] }, LATER);
  const { asked: later } = await get(t, { mirror: [breaksOff, absent], registry: [whole] }, LATER);

  assert.deepEqual(asked.registry, []);
  assert.deepEqual(later.registry, [1_000_000]);
});

test('what neither can end ends with bytes still owed, not with a reset', async (t) => {
  const { isShort, body } = await get(
    t,
    { mirror: [breaksOff, absent], registry: [absent] },
    { ...QUICK, resumeMs: 500 },
  );

  assert.equal(isShort, true);
  assert.ok(body.equals(part(0)));
});
