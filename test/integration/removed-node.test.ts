/** A node that hangs, stops, or is no member any more is asked no more within 10 s, and no pull fails meanwhile. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { createLab, type Lab } from '../lab/lab.ts';
import { until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import type { PushedImage } from '../lab/push.ts';

/** The promise. */
const UNASKED_MS_MAX = 10_000;
/** What is asked of nobody is answered at once; the rest is this machine's. */
const ABSENT_MS_MAX = 1_000;
const DEADLINE_MS = 180_000;
const LAYERS = [{ bytes: 2_000_000 }, { bytes: 500_000, gzip: true }];

interface Swarm {
  readonly lab: Lab;
  /** Holds both images; the others hold neither. */
  readonly holder: LabNode;
  readonly others: readonly [LabNode, LabNode];
  readonly image: PushedImage;
  readonly second: PushedImage;
}

async function startSwarm(t: TestContext, mirrorArgs: (lab: Lab, node: LabNode) => readonly string[] = () => []) {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const nodes = ['1.6.20', '2.4', '1.6.20'].map((containerd) => ({ containerd }));
  const lab = await createLab({ nodes }, signal);
  t.after(() => lab.down());
  for (const node of lab.nodes) await node.configure();
  await Promise.all(lab.nodes.map((node) => node.startMirror(mirrorArgs(lab, node), signal)));
  const [holder, ...others] = lab.nodes as readonly [LabNode, LabNode, LabNode];
  const image = await lab.upstream.push('team/app:v1', { seed: 'first', layers: LAYERS });
  const second = await lab.upstream.push('team/other:v1', { seed: 'second', layers: LAYERS });
  for (const { reference } of [image, second]) await holder.pull(reference, {}, signal);
  for (const node of others) {
    for (const pushed of [image, second]) await until(async () => (await askBlob(node, pushed)).status === 200, signal);
  }
  return { lab, holder, others, image, second } satisfies Swarm;
}

/** Asks a node's mirror for a layer, as its containerd would. */
async function askBlob(node: LabNode, { repository, manifests }: PushedImage) {
  const digest = manifests[0]?.layers[0]?.digest;
  const startedAt = performance.now();
  const url = `http://127.0.0.1:29981/v2/${repository}/blobs/${digest}?ns=upstream.lab:5000`;
  const { status } = await node.fetch(url, { method: 'HEAD' });
  return { status, ms: performance.now() - startedAt };
}

async function namesAsMember(node: LabNode, other: LabNode): Promise<boolean> {
  const { body } = await node.fetch('http://127.0.0.1:29984/status');
  const { members } = JSON.parse(body) as { readonly members: ReadonlyArray<{ readonly address: string }> };
  return members.some(({ address }) => address.startsWith(`${other.address}:`));
}

/** Connections to the node's peer server from any other node, those that a hung one has not yet taken included. */
async function peerConnections(node: LabNode): Promise<readonly string[]> {
  const { stdout } = await node.exec(['ss', '--no-header', '--numeric', '--tcp', '--all', 'sport = :29982']);
  return stdout
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('LISTEN'))
    .toSorted();
}

/** `goneAt`: when the holder was made to go. */
async function assertUnasked(swarm: Swarm, goneAt: number): Promise<void> {
  const { lab, holder, others, second } = swarm;
  const deadline = AbortSignal.timeout(Math.max(0, Math.ceil(goneAt + UNASKED_MS_MAX - performance.now())));
  for (const node of others) {
    await until(
      async () => !(await namesAsMember(node, holder)),
      deadline,
      () => `${node.name} still names it`,
    );
  }
  const connected = await peerConnections(holder);
  for (const node of others) {
    const { status, ms } = await askBlob(node, second);
    assert.equal(status, 404);
    assert.ok(ms < ABSENT_MS_MAX, `${node.name} answered after ${ms} ms`);
  }
  await lab.upstream.resetStats();
  await others[0].pull(second.reference);
  assert.equal((await lab.upstream.stats()).manifestGets, 1, 'the pull was not from upstream');
  const opened = (await peerConnections(holder)).filter((line) => !connected.includes(line));
  assert.deepEqual(opened, [], 'the holder was asked');
}

test('a node that hangs is asked no more within 10 s; pulls go to upstream meanwhile; it is asked again when it is back', async (t) => {
  const swarm = await startSwarm(t);
  const { holder, others, image } = swarm;

  holder.freeze();
  const goneAt = performance.now();
  await others[0].pull(image.reference);

  await assertUnasked(swarm, goneAt);
  holder.thaw();
  await until(() => namesAsMember(others[1], holder), AbortSignal.timeout(DEADLINE_MS));
});

test('a node whose mirror stops in order is asked no more within 10 s; pulls go to upstream meanwhile', async (t) => {
  const swarm = await startSwarm(t);
  const { holder, others, image } = swarm;

  const stopping = holder.stopMirror();
  const goneAt = performance.now();
  await others[0].pull(image.reference);
  await stopping;

  await assertUnasked(swarm, goneAt);
});

test('a node that the members file names no more is asked no more within 10 s, though it still knows the others', async (t) => {
  const swarm = await startSwarm(t, (lab, node) => {
    const file = membersFile(lab, node);
    fs.writeFileSync(file, lab.nodes.map(({ address }) => `${address}\n`).join(''));
    return ['--members-file', file];
  });
  const { lab, holder, others, image } = swarm;

  for (const node of others) {
    fs.writeFileSync(membersFile(lab, node), others.map(({ address }) => `${address}\n`).join(''));
  }
  const goneAt = performance.now();
  await others[0].pull(image.reference);

  await assertUnasked(swarm, goneAt);
  assert.equal(holder.mirror()?.isRunning(), true);
});

function membersFile(lab: Lab, node: LabNode): string {
  return path.join(lab.folder, `${node.name}.members`);
}
