import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseProxyEnv } from './proxy-env.ts';

const LOOPBACK = 'localhost,.localhost,127.0.0.1-127.255.255.255,[::1],::1';

for (const { env, expected } of [
  { env: {}, expected: { no_proxy: LOOPBACK } },
  { env: { HTTPS_PROXY: '', https_proxy: ' ' }, expected: { no_proxy: LOOPBACK } },
  {
    env: {
      HTTPS_PROXY: 'http://me:secret@proxy.example:3128',
      http_proxy: 'proxy.example:3128',
      https_proxy: 'http://other',
    },
    expected: {
      http_proxy: 'http://proxy.example:3128/',
      https_proxy: 'http://me:secret@proxy.example:3128/',
      no_proxy: LOOPBACK,
    },
  },
  { env: { HTTPS_PROXY: 'socks5://proxy.example' }, expected: { name: 'HTTPS_PROXY' } },
  { env: { http_proxy: 'http://' }, expected: { name: 'http_proxy' } },
]) {
  test(`${JSON.stringify(env)} is ${JSON.stringify(expected)}`, () => {
    assert.deepEqual(parseProxyEnv(env), expected);
  });
}

for (const [entry, as] of [
  ['Hub.example', 'hub.example,.hub.example'],
  ['.example, *.test', '.example,.test'],
  ['*', '*'],
  ['hub.example:5000', 'hub.example:5000,.hub.example:5000'],
  ['10.0.0.7', '10.0.0.7'],
  ['10.1.2.3/16', '10.1.0.0-10.1.255.255'],
  ['10.0.0.7/32', '10.0.0.7-10.0.0.7'],
  ['0.0.0.0/0', '0.0.0.0-255.255.255.255'],
] as const) {
  test(`NO_PROXY of ${entry} is ${as}`, () => {
    assert.deepEqual(parseProxyEnv({ NO_PROXY: entry }), { no_proxy: `${LOOPBACK},${as}` });
  });
}

test('networks that are none, and those of IPv6, are left out', () => {
  assert.deepEqual(parseProxyEnv({ NO_PROXY: '10.0.0.0/33,300.0.0.0/8,,' }), { no_proxy: LOOPBACK });
});
