/** A holder whose network is busy with something else: who is faster goes on where it is slow, another holder or the registry, or two send in turns. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { createLab, type Lab } from '../lab/lab.ts';
import { until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import type { PushedImage } from '../lab/push.ts';

const DEADLINE_MS = 120_000;
/** The layers would take it a quarter of a minute. */
const SLOW_BYTES_PER_SECOND = 6_000_000;
const LAYER_BYTES = 30_000_000;
/** Several, as now and then the other holder is late to answer: then the slow one is asked beside it, and may even answer first. */
const LATER_PULLS = ['second', 'third', 'fourth'];
/** A manifest and a config. */
const SMALL_BYTES = 10_000;
const SENT = 'miroir_peer_sent_bytes_total';
const SWITCHES = 'miroir_relay_switches_total';
/** As many as containerd gets at a time: a mirror spreads them over all who hold them, the slow one included. */
const SPEC = { layers: Array.from({ length: 3 }, () => ({ bytes: LAYER_BYTES })) };
/** One that a single slow holder would take nearly seven seconds to send. */
const ALONE_BYTES = 40_000_000;
const ALONE_SPEC = { layers: [{ bytes: ALONE_BYTES }] };
const ALONE_MS = (ALONE_BYTES / SLOW_BYTES_PER_SECOND) * 1000;
/** A fifth of a second and more. */
const SAME_LOOKS = 10;
/** Of an image: a tag, a manifest and a config; and the layers. */
const KEYS = 3;

async function metric(node: LabNode, name: string): Promise<number> {
  const { body } = await node.fetch('http://127.0.0.1:29984/metrics');
  const values = body.matchAll(new RegExp(`^${name}(?:{[^}]*})? (\\S+)$`, 'gm'));
  return values.reduce((sum, [, value]) => sum + Number(value), 0);
}

/** What was left in the middle is counted where it is noticed, a moment later: the figure that stays. */
async function sentBy(node: LabNode, signal: AbortSignal): Promise<number> {
  let sent = await metric(node, SENT);
  let sameLooks = 0;
  await until(async () => {
    const now = await metric(node, SENT);
    sameLooks = now === sent ? sameLooks + 1 : 0;
    sent = now;
    return sameLooks >= SAME_LOOKS;
  }, signal);
  return sent;
}

async function startLab(t: TestContext, containerds: readonly string[], signal: AbortSignal): Promise<Lab> {
  const lab = await createLab({ nodes: containerds.map((containerd) => ({ containerd })) }, signal);
  t.after(() => lab.down());
  await Promise.all(lab.nodes.map((node) => node.configure()));
  await Promise.all(lab.nodes.map((node) => node.startMirror([], signal)));
  return lab;
}

/** Has nodes pull images, until the others can know. */
async function hold(nodes: readonly LabNode[], images: readonly PushedImage[], signal: AbortSignal): Promise<void> {
  for (const { reference } of images) await Promise.all(nodes.map((node) => node.pull(reference, {}, signal)));
  const keys = images.reduce((sum, { manifests: [manifest] }) => sum + KEYS + (manifest?.layers.length ?? 0), 0);
  for (const node of nodes) {
    await until(async () => (await metric(node, 'miroir_swarm_keys_advertised')) >= keys, signal);
  }
}

for (const puller of ['1.6.20', '2.4']) {
  test(`containerd ${puller} pulls from two holders, and one of them is slow: the other one goes on`, async (t) => {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    const lab = await startLab(t, ['2.4', '1.6.20', puller], signal);
    const [slow, fast, node] = lab.nodes as readonly [LabNode, LabNode, LabNode];
    const first = await lab.upstream.push('team/app:v1', { seed: 'first', ...SPEC });
    const later = await Promise.all(LATER_PULLS.map((seed) => lab.upstream.push(`team/${seed}:v1`, { seed, ...SPEC })));
    await hold([slow, fast], [first, ...later], signal);
    await slow.limitRate({ send: SLOW_BYTES_PER_SECOND }, signal);
    await lab.upstream.resetStats();
    const sentBefore = await sentBy(slow, signal); // To the other holder.

    const { ms } = await node.pull(first.reference, {}, signal);

    const sentBySlow = (await sentBy(slow, signal)) - sentBefore;
    t.diagnostic(`${Math.round(ms)} ms, ${sentBySlow} bytes of the slow holder's`);
    const switches = await metric(node, SWITCHES);
    assert.ok(switches > 0);
    assert.ok(sentBySlow < LAYER_BYTES, `${sentBySlow} bytes came of it`);

    // Who spreads layers over all who hold them begins with the slow one in each pull.
    const more: number[] = [];
    for (const { reference } of later) {
      const before = await sentBy(slow, signal);
      await node.pull(reference, {}, signal);
      more.push((await sentBy(slow, signal)) - before);
    }
    t.diagnostic(`${more.join(', ')} more bytes of it`);
    assert.ok(Math.min(...more) <= SMALL_BYTES, 'each pull began with who is known to be slow');
    assert.equal(await sentByRegistry(lab), 0);
  });

  test(`containerd ${puller} pulls from a slow holder alone, and the registry is known to be fast`, async (t) => {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    const lab = await startLab(t, ['2.4', puller], signal);
    const [slow, node] = lab.nodes as readonly [LabNode, LabNode];
    const [known, first, second] = (await Promise.all(
      ['known', 'first', 'second'].map((seed) => lab.upstream.push(`team/${seed}:v1`, { seed, ...SPEC })),
    )) as [PushedImage, PushedImage, PushedImage];
    await hold([slow], [first, second], signal);
    await node.pull(known.reference, {}, signal);
    await slow.limitRate({ send: SLOW_BYTES_PER_SECOND }, signal);
    await lab.upstream.resetStats();

    const { ms } = await node.pull(first.reference, {}, signal);

    const sent = await sentByRegistry(lab);
    t.diagnostic(`${Math.round(ms)} ms, ${sent} bytes of the registry's`);
    assert.ok(sent > 0 && sent < 3 * LAYER_BYTES, 'the registry gave the rest');
    assert.ok((await metric(node, 'miroir_relay_left_total')) > 0);

    await lab.upstream.stop();

    await node.pull(second.reference, {}, signal);
  });
}

test('two holders are slow, and neither fills the pipe: both send a layer in turns, also when one of them then hangs', async (t) => {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const lab = await startLab(t, ['2.4', '1.6.20', '2.4'], signal);
  const [one, other, node] = lab.nodes as readonly [LabNode, LabNode, LabNode];
  const [first, second] = (await Promise.all(
    ['first', 'second'].map((seed) => lab.upstream.push(`team/${seed}:v1`, { seed, ...ALONE_SPEC })),
  )) as [PushedImage, PushedImage];
  await hold([one, other], [first, second], signal);
  for (const holder of [one, other]) await holder.limitRate({ send: SLOW_BYTES_PER_SECOND }, signal);
  await lab.upstream.resetStats();
  const before = await Promise.all([one, other].map((holder) => metric(holder, SENT)));

  const { ms } = await node.pull(first.reference, {}, signal);

  const after = await Promise.all([one, other].map((holder) => metric(holder, SENT)));
  const sent = after.map((bytes, index) => bytes - (before[index] ?? 0));
  t.diagnostic(`${Math.round(ms)} ms, ${sent.join(' and ')} bytes of each`);
  assert.equal(await metric(node, 'miroir_relay_turns_total'), 1);
  assert.ok(ms < ALONE_MS, `it took ${Math.round(ms)} ms, as from one holder`);

  const pulled = node.pull(second.reference, {}, signal);
  await until(async () => (await metric(node, 'miroir_relay_turns_total')) === 2, signal);
  other.freeze();

  t.diagnostic(`${Math.round((await pulled).ms)} ms when one of them hangs`);
  assert.equal(await sentByRegistry(lab), 0);
});

async function sentByRegistry({ upstream }: Lab): Promise<number> {
  const { log } = await upstream.stats();
  return log.reduce((sum, { kind, bytes }) => sum + (kind === 'blob' ? bytes : 0), 0);
}
