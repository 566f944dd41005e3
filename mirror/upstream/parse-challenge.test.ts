import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { parseChallenges } from './parse-challenge.ts';

for (const [header, expected] of [
  ['Basic realm="lab"', [{ scheme: 'basic', params: { realm: 'lab' } }]],
  [
    'Bearer realm="https://a.example/token",service="a",scope="repository:x/y:pull,push"',
    [
      {
        scheme: 'bearer',
        params: { realm: 'https://a.example/token', service: 'a', scope: 'repository:x/y:pull,push' },
      },
    ],
  ],
  [
    'Negotiate, BASIC Realm=lab , charset="UTF-8", Bearer realm="x\\"y"',
    [
      { scheme: 'negotiate', params: {} },
      { scheme: 'basic', params: { realm: 'lab', charset: 'UTF-8' } },
      { scheme: 'bearer', params: { realm: 'x"y' } },
    ],
  ],
  ['', []],
  ['"', []],
  ['Basic realm="never ends', [{ scheme: 'basic', params: {} }]],
  [`Basic realm="${'x'.repeat(5000)}"`, []],
] as const) {
  test(`parses ${header.slice(0, 60)}`, () => {
    const parsed = parseChallenges(header).map(({ scheme, params }) => ({ scheme, params: { ...params } }));

    assert.deepEqual(parsed, expected);
  });
}

const token = fc.stringMatching(/^[a-z][a-z0-9!#$%&'*+.^_`|~-]{0,9}$/);
const params = fc.uniqueArray(fc.tuple(token, fc.string({ maxLength: 20 })), {
  selector: ([name]) => name,
  maxLength: 4,
});

test('what is written as the RFC says is read back', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(token, params), { maxLength: 3 }), (challenges) => {
      const quote = (text: string) => `"${text.replace(/["\\]/g, '\\$&')}"`;
      const header = challenges
        .map(([scheme, own]) => `${scheme} ${own.map(([name, value]) => `${name}=${quote(value)}`).join(', ')}`.trim())
        .join(', ');

      const parsed = parseChallenges(header).map(({ scheme, params: read }) => [scheme, new Map(Object.entries(read))]);

      assert.deepEqual(
        parsed,
        challenges.map(([scheme, own]) => [scheme, new Map(own)]),
      );
    }),
  );
});

test('any text is read in no time', () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 4096, unit: 'binary-ascii' }), (text) => parseChallenges(text).length >= 0),
  );
  const startedAt = performance.now();
  for (const part of ['a ', ',', ' ', 'a=', '"', '\\"', 'a ="\\']) parseChallenges(part.repeat(4096 / part.length));
  assert.ok(performance.now() - startedAt < 1000);
});
