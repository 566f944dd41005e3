import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import test, { type TestContext } from 'node:test';
import { parseVerdict, readVerdict } from './read-verdict.ts';

const REASON = {
  code: 'config-path-empty',
  weighs: 'incompatible',
  sentence: 'config_path is empty',
  evidence: [],
  fix: 'set it',
};

async function serve(t: TestContext, answer: http.RequestListener): Promise<number> {
  const server = http.createServer(answer);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

test('the reason that decided is read, with its fix', () => {
  const note = { ...REASON, code: 'layers-unproven', weighs: 'note' };
  const text = JSON.stringify({ result: 'incompatible', reasons: [note, REASON] });

  assert.deepEqual(parseVerdict(text), {
    result: 'incompatible',
    code: 'config-path-empty',
    message: 'config_path is empty. Fix: set it',
  });
});

test('a compatible node needs no reason', () => {
  assert.equal(parseVerdict('{"result":"compatible","reasons":[]}')?.code, undefined);
});

for (const [title, value] of [
  ['nothing', null],
  ['a list', []],
  ['another word', { result: 'fine', reasons: [] }],
  ['no reasons', { result: 'incompatible' }],
  ['reasons that weigh nothing', { result: 'incompatible', reasons: [{ ...REASON, weighs: 'note' }] }],
  ['a code that is a text', { result: 'incompatible', reasons: [{ ...REASON, code: 'a b\n' }] }],
  ['a code without end', { result: 'incompatible', reasons: [{ ...REASON, code: 'a'.repeat(100) }] }],
  ['reasons that are numbers', { result: 'unknown', reasons: [1, null, 'x'] }],
] as const) {
  test(`${title} is no verdict`, () => {
    assert.equal(parseVerdict(JSON.stringify(value)), undefined);
  });
}

test('a message is printable and ends', () => {
  const sentence = `\u001b[31m\u202e${'x'.repeat(5000)}`;

  const verdict = parseVerdict(JSON.stringify({ result: 'incompatible', reasons: [{ ...REASON, sentence }] }));

  assert.match(verdict?.message ?? '', /^ \[31m x+$/);
  assert.ok((verdict?.message.length ?? 0) < 1000);
});

for (const [title, answer] of [
  ['an error', (_request, response) => response.writeHead(503).end('{}')],
  ['a redirect', (_request, response) => response.writeHead(302, { location: '/verdict' }).end()],
  ['no JSON', (_request, response) => response.end('<html>')],
  ['too much', (_request, response) => response.end(`"${'x'.repeat(1024 * 1024)}"`)],
  [
    'half an answer',
    (_request, response) => response.writeHead(200, { 'content-length': 99 }).write('{', () => response.destroy()),
  ],
  ['nothing at all', () => {}],
  ['one byte now and then', (_request, response) => void setInterval(() => response.write(' '), 100).unref()],
] satisfies readonly (readonly [string, http.RequestListener])[]) {
  test(`who answers ${title} is silent`, async (t) => {
    const port = await serve(t, answer);

    assert.equal(await readVerdict('127.0.0.1', port, t.signal), undefined);
  });
}
