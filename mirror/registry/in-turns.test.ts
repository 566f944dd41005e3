/** Holders whose uploads have a rate: two of them send one blob in turns, over real connections. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import http from 'node:http';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { ask, startTestMirror, type TestMirror } from '../../test/conformance/oci-test-mirror.ts';
import { sha256 } from '../../test/conformance/store-image.ts';
import { createMemoryHub } from '../swarm/memory.ts';
import { digestKey } from '../swarm/router.ts';
import { TURNS_LIMITS } from '../transfer/read-ahead.ts';

const RATE = 6_000_000;
const BLOB = randomBytes(16_000_000);
const DIGEST = sha256(BLOB);
const CONTAINERD = { 'user-agent': 'containerd/2.4.2' };
/** What was on its way when a connection was closed, between the two of them and in the client's. */
const ON_ITS_WAY_BYTES = 10_000_000;

interface Setup {
  readonly encryption?: 'on' | 'off';
  /** What the holders have for the blob, and how fast they send it. */
  readonly holders?: ReadonlyArray<{ readonly bytes?: Buffer; readonly rate: number; readonly now?: () => number }>;
}

async function start(t: TestContext, { encryption = 'on', holders = [{ rate: RATE }, { rate: RATE }] }: Setup = {}) {
  const hub = createMemoryHub();
  const started: TestMirror[] = [];
  for (const [index, { bytes = BLOB, rate, now = Date.now }] of holders.entries()) {
    const holder = await startTestMirror(t, { name: `holder ${index}`, hub, encryption, uploadRate: rate, now });
    const received = holder.store.receive(DIGEST, bytes.length);
    received.write(bytes);
    received.commit();
    await holder.router.advertise([{ key: digestKey(DIGEST) }], t.signal);
    started.push(holder);
  }
  const node = await startTestMirror(t, { name: 'node', hub, encryption });
  return { holders: started, node, url: `${node.url}/v2/library/app/blobs/${DIGEST}` };
}

async function metric({ metrics }: TestMirror, name: string): Promise<number> {
  const counted = await metrics.getSingleMetric(name)?.get();
  return (counted?.values ?? []).reduce((sum, { value }) => sum + value, 0);
}

const turnsOf = (node: TestMirror) => metric(node, 'miroir_relay_turns_total');
const sentBy = (holder: TestMirror | undefined) => metric(holder as TestMirror, 'miroir_peer_sent_bytes_total');

for (const encryption of ['on', 'off'] as const) {
  test(`two holders that are slow send a blob in turns, encryption ${encryption}`, async (t) => {
    const { holders, node, url } = await start(t, { encryption });
    const startedAt = performance.now();

    const { body } = await ask(url, { headers: CONTAINERD });

    const ms = performance.now() - startedAt;
    assert.ok(body.equals(BLOB));
    assert.equal(await turnsOf(node), 1);
    assert.equal(await metric(node, 'miroir_registry_sent_bytes_total'), BLOB.length);
    assert.ok(ms < (BLOB.length / RATE) * 1000, `${ms} ms`);
    // Turns begin while there is a second's worth left for one, of which the other one sends half, give or take a part.
    for (const holder of holders) assert.ok((await sentBy(holder)) > RATE / 2 - TURNS_LIMITS.partBytes);
  });
}

test('a part of a blob, and one that this mirror verifies, come in turns too', async (t) => {
  const { node, url } = await start(t);

  const part = await ask(url, { headers: { range: 'bytes=1000-15000000' } });
  const whole = await ask(url);

  assert.ok(part.body.equals(BLOB.subarray(1000, 15_000_001)));
  assert.ok(whole.body.equals(BLOB));
  assert.equal(await turnsOf(node), 2);
});

test('the faster one of two goes on alone when it is several times as fast', async (t) => {
  const { node, url } = await start(t, { holders: [{ rate: 4_000_000 }, { rate: 40_000_000 }] });
  const startedAt = performance.now();

  const { body } = await ask(url, { headers: CONTAINERD });

  assert.ok(body.equals(BLOB));
  assert.equal(await turnsOf(node), 1);
  assert.ok(performance.now() - startedAt < 4000);
});

for (const left of [0, 1]) {
  test(`one of two goes away, ${left === 0 ? 'who sent first' : 'who was asked beside'}: the other one goes on`, async (t) => {
    const { holders, node, url } = await start(t);
    const got = ask(url, { headers: CONTAINERD });
    while ((await turnsOf(node)) === 0) await delay(20);
    await delay(200);

    await holders[left]?.stop();

    const { body, isShort } = await got;
    assert.equal(isShort, false);
    assert.ok(body.equals(BLOB));
  });
}

for (const frozen of [0, 1]) {
  test(`one of two stops sending, ${frozen === 0 ? 'who sent first' : 'who was asked beside'}: the other one goes on`, async (t) => {
    let lagMs = 0;
    // By its clock, it has sent an hour ahead of its rate.
    const holders = [0, 1].map((index) => ({
      rate: RATE,
      now: () => Date.now() - (index === frozen ? lagMs : 0),
    }));
    const { node, url } = await start(t, { holders });
    const got = ask(url, { headers: CONTAINERD });
    while ((await turnsOf(node)) === 0) await delay(20);
    await delay(200);
    const frozenAt = performance.now();

    lagMs = 3_600_000;

    const { body, isShort } = await got;
    assert.equal(isShort, false);
    assert.ok(body.equals(BLOB));
    t.diagnostic(`${Math.round(performance.now() - frozenAt)} ms`);
    assert.ok(performance.now() - frozenAt < 5000);
  });
}

test('a client that takes nothing stops both, and one that leaves ends both', async (t) => {
  const large = Buffer.alloc(60_000_000);
  const { holders, node, url } = await start(t, { holders: [0, 1].map(() => ({ rate: RATE, bytes: large })) });
  const request = http.get(url, { headers: CONTAINERD, agent: false });
  t.after(() => request.destroy());
  const response = await new Promise<http.IncomingMessage>((resolve) => request.once('response', resolve));
  let received = 0;
  response.on('data', (bytes: Buffer) => {
    received += bytes.length;
  });
  response.on('error', () => {});
  while ((await turnsOf(node)) === 0) await delay(20);

  response.pause();
  await delay(1500);
  const sent = (await sentBy(holders[0])) + (await sentBy(holders[1]));
  assert.ok(sent < received + TURNS_LIMITS.windowBytes + ON_ITS_WAY_BYTES);
  request.destroy();
  await delay(200);

  const after = await Promise.all(holders.map(sentBy));
  await delay(300);
  assert.deepEqual(await Promise.all(holders.map(sentBy)), after);
  assert.ok(after.reduce((sum, bytes) => sum + bytes, 0) < large.length);
});

test('wrong bytes of one of two are found: the blob is asked of others then, and who sent them is banned', async (t) => {
  const wrong = Buffer.from(BLOB);
  wrong.fill(0, BLOB.length / 2);
  const { node, url } = await start(t, { holders: [{ rate: RATE }, { rate: RATE, bytes: wrong }] });

  const first = await ask(url, { headers: CONTAINERD });
  assert.equal(await turnsOf(node), 1);
  // containerd compares what it got, takes it not in, and kubelet has it ask again.
  const second = await ask(url, { headers: CONTAINERD });

  assert.ok(!first.body.equals(BLOB));
  assert.equal(second.status, 404);
  const deadline = Date.now() + 20_000;
  while ((await metric(node, 'miroir_peer_bans_total')) === 0 && Date.now() < deadline) await delay(50);
  assert.equal(await metric(node, 'miroir_peer_bans_total'), 1);
});
