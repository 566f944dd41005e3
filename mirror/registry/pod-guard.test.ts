import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { Registry as MetricsRegistry } from 'prom-client';
import { formatHostPort } from '../../common/host-port.ts';
import { silentLogger } from '../../common/log.ts';
import { ask, startTestMirror } from '../../test/conformance/oci-test-mirror.ts';
import { createPodTokens, type TokenWish } from '../../test/lab/pod-tokens.ts';
import { createMemoryHub } from '../swarm/memory.ts';
import { createPodGuard, createPodGuardMetrics, type TokenRefusal } from './pod-guard.ts';
import { createTokenKeys } from './token-keys.ts';

const BLOB = Buffer.from('a layer');

/** A mirror on node n1 that believes what the file says. */
async function start(t: TestContext, files: string[]) {
  const metrics = new MetricsRegistry();
  let clock = 0;
  const readFile = async () => files[0] ?? assert.fail('there is no file');
  const keys = createTokenKeys({ readFile, log: silentLogger, now: () => clock }, '/keys.json');
  const guard = createPodGuard({ keys, ...createPodGuardMetrics(metrics) }, 'n1');
  const mirror = await startTestMirror(t, { name: 'n1', hub: createMemoryHub(), guard });
  const digest = mirror.store.put(BLOB);
  const url = `http://${formatHostPort(mirror.podAddress ?? assert.fail('it does not listen'))}`;
  const pull = (token?: string) =>
    ask(`${url}/v2/app/blobs/${digest}`, { headers: token === undefined ? {} : { 'Miroir-Pod-Token': token } });
  const refused = async () => {
    const [{ values } = { values: [] }] = await metrics.getMetricsAsJSON();
    return Object.fromEntries(
      values.filter(({ value }) => value > 0).map(({ labels, value }) => [labels['reason'], value]),
    );
  };
  const pass = (ms: number) => {
    clock += ms;
  };
  return { mirror, url, pull, refused, pass };
}

test('a pod of this node with a token for Miroir gets what the node has', async (t) => {
  const tokens = await createPodTokens();
  const { pull, refused } = await start(t, [tokens.keysFile]);

  const { status, body } = await pull(await tokens.sign());

  assert.equal(status, 200);
  assert.ok(body.equals(BLOB));
  assert.deepEqual(await refused(), {});
});

const NOW_S = Math.floor(Date.now() / 1000);
for (const { title, wish, reason } of [
  { title: 'for the apiserver', wish: { audience: 'https://kubernetes.default.svc' }, reason: 'invalid' },
  { title: 'of another issuer', wish: { issuer: 'https://other.example' }, reason: 'invalid' },
  { title: 'that has expired', wish: { expires: NOW_S - 60 }, reason: 'expired' },
  { title: "of another node's pod", wish: { node: 'n2' }, reason: 'other-node' },
  { title: 'of no pod', wish: { node: undefined }, reason: 'other-node' },
] as const satisfies readonly { title: string; wish: TokenWish; reason: TokenRefusal }[]) {
  test(`refuses a token ${title}, and counts it`, async (t) => {
    const tokens = await createPodTokens();
    const { pull, refused } = await start(t, [tokens.keysFile]);

    const { status, body } = await pull(await tokens.sign(wish));

    assert.equal(status, 403);
    assert.equal(JSON.parse(body.toString()).errors[0].code, 'DENIED');
    assert.deepEqual(await refused(), { [reason]: 1 });
  });
}

test('refuses who has no token, a forged one, one without a signature, and nonsense', async (t) => {
  const tokens = await createPodTokens();
  const stranger = await createPodTokens(); // Its key has the same name.
  const { pull, refused } = await start(t, [tokens.keysFile]);
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const [, claims] = (await tokens.sign()).split('.');

  const answers = [
    await pull(),
    await pull(await stranger.sign()),
    await pull(`${part({ alg: 'none' })}.${claims}.`),
    await pull('nonsense'),
    await pull('x'.repeat(9000)),
  ];

  assert.deepEqual(
    answers.map(({ status }) => status),
    [403, 403, 403, 403, 403],
  );
  assert.deepEqual(await refused(), { absent: 1, invalid: 4 });
});

test('believes nobody before it knows the keys, takes new ones, and keeps them when the file breaks', async (t) => {
  const [tokens, next] = [await createPodTokens(), await createPodTokens()];
  const files: string[] = [];
  const { pull, refused, pass } = await start(t, files);
  const statuses = async () => [(await pull(await tokens.sign())).status, (await pull(await next.sign())).status];

  assert.deepEqual(await statuses(), [403, 403]);
  assert.deepEqual(await refused(), { 'keys-unknown': 2 });
  files[0] = tokens.keysFile;
  pass(10_000);
  assert.deepEqual(await statuses(), [200, 403]);
  files[0] = next.keysFile;
  pass(10_000);
  assert.deepEqual(await statuses(), [403, 200]);
  files[0] = '{"keys":[]}';
  pass(10_000);
  assert.deepEqual(await statuses(), [403, 200]);
});

test('what a pod says of a registry does not make containerd be configured', async (t) => {
  const tokens = await createPodTokens();
  const { mirror, url } = await start(t, [tokens.keysFile]);
  const manifest = mirror.store.put(Buffer.from('{"schemaVersion":2,"layers":[]}'));
  mirror.store.name('hub.example/app:1', manifest, Date.now());

  const { status } = await ask(`${url}/v2/app/manifests/1?ns=hub.example`, {
    headers: { 'Miroir-Pod-Token': await tokens.sign() },
  });

  assert.equal(status, 200); // A registry that is seen for the first time is answered 404.
});
