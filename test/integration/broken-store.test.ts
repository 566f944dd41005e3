/**
 * What a node holds breaks under its running mirror: containerd restarts, its content goes, a blob is cut short. No other
 * node gets a wrong byte or a failed pull, and the mirror is of use again without being told.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { digestHex, parseDigest } from '../../common/oci/digest.ts';
import { createLab, type Lab } from '../lab/lab.ts';
import { until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import type { PushedImage } from '../lab/push.ts';
import { CONTENT, ingestedBytes } from './ingested-bytes.ts';

const DEADLINE_MS = 120_000;
/** Much more than the buffers on its way hold, so that a transfer of the first can be broken in its middle. */
const LARGE_LAYER_BYTES = 20_000_000;
const LAYERS = [{ bytes: LARGE_LAYER_BYTES }, { bytes: 500_000, gzip: true }];
const SLOW_BYTES_PER_SECOND = 8_000_000;

interface Pair {
  readonly lab: Lab;
  /** Its store breaks. */
  readonly holder: LabNode;
  readonly other: LabNode;
  readonly image: PushedImage;
  readonly signal: AbortSignal;
}

async function startPair(t: TestContext, version: string): Promise<Pair> {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const lab = await createLab({ nodes: [{ containerd: version }, { containerd: '2.4' }] }, signal);
  t.after(() => lab.down());
  for (const node of lab.nodes) await node.configure();
  await Promise.all(lab.nodes.map((node) => node.startMirror([], signal)));
  const [holder, other] = lab.nodes as readonly [LabNode, LabNode];
  const image = await lab.upstream.push('team/app:v1', { seed: 'broken', layers: LAYERS });
  const pair = { lab, holder, other, image, signal };
  await pullOnHolder(pair, image);
  return pair;
}

/** Resolves when the other node's mirror finds what was pulled. */
async function pullOnHolder({ holder, other, signal }: Pair, image: PushedImage): Promise<void> {
  await holder.pull(image.reference, {}, signal);
  const isFound = async () => (await other.fetch(blobUrl(image), { method: 'HEAD' })).status === 200;
  await until(isFound, signal, () => `what ${holder.name} pulled is not found`);
}

/** How many manifests and blobs the pull took from upstream. */
async function upstreamGetsOfPull({ lab, other, signal }: Pair, image: PushedImage): Promise<number> {
  await lab.upstream.resetStats();
  await other.pull(image.reference, {}, signal);
  const { manifestGets, blobGets } = await lab.upstream.stats();
  return manifestGets + blobGets;
}

const largeLayer = ({ manifests }: PushedImage) => manifests[0]?.layers[0]?.digest ?? '';
const blobUrl = (image: PushedImage) =>
  `http://127.0.0.1:29981/v2/${image.repository}/blobs/${largeLayer(image)}?ns=upstream.lab:5000`;

function blobFile(node: LabNode, image: PushedImage): string {
  const digest = parseDigest(largeLayer(image));
  assert.ok(digest);
  return path.join(node.folder, CONTENT, 'blobs/sha256', digestHex(digest));
}

/** The sha256 of what the node's mirror sends its containerd. */
async function servedDigest(node: LabNode, image: PushedImage): Promise<string> {
  const { stdout } = await node.exec(['sh', '-c', `busybox wget -q -O - '${blobUrl(image)}' | sha256sum`]);
  return `sha256:${stdout.slice(0, 64)}`;
}

for (const version of ['1.6.20', '2.4']) {
  test(`containerd ${version} restarts: its node is pulled from meanwhile, and what it pulls afterwards is found`, async (t) => {
    const pair = await startPair(t, version);
    const { lab, holder, image } = pair;

    await holder.containerd().stop('SIGKILL');
    assert.equal(await upstreamGetsOfPull(pair, image), 0);
    await holder.restartContainerd();

    const after = await lab.upstream.push('team/app:v2', { seed: 'after', layers: LAYERS });
    await pullOnHolder(pair, after);
    assert.equal(await upstreamGetsOfPull(pair, after), 0);
  });

  test(`the content of containerd ${version} is deleted: pulls go to upstream, and what it pulls afterwards is found`, async (t) => {
    const pair = await startPair(t, version);
    const { lab, holder, image } = pair;

    fs.rmSync(path.join(holder.folder, CONTENT), { recursive: true });
    assert.equal(await upstreamGetsOfPull(pair, image), 1 + 1 + LAYERS.length, 'not all came from upstream');
    await holder.containerd().stop();
    for (const entry of fs.readdirSync(path.join(holder.folder, 'var-lib-containerd'))) {
      fs.rmSync(path.join(holder.folder, 'var-lib-containerd', entry), { recursive: true });
    }
    await holder.restartContainerd();

    const after = await lab.upstream.push('team/app:v2', { seed: 'after', layers: LAYERS });
    await pullOnHolder(pair, after);
    assert.equal(await upstreamGetsOfPull(pair, after), 0);
  });

  test(`a blob of containerd ${version} is cut short on disk: another node gets that one from upstream, whole`, async (t) => {
    const pair = await startPair(t, version);
    const { holder, other, image } = pair;

    fs.truncateSync(blobFile(holder, image), 1_000_000);

    assert.equal((await holder.fetch(blobUrl(image), { method: 'HEAD' })).status, 404);
    assert.equal(await upstreamGetsOfPull(pair, image), 1);
    for (const node of [holder, other]) assert.equal(await servedDigest(node, image), largeLayer(image), node.name);
  });

  test(`a blob of containerd ${version} is cut short while another node pulls it: the pull goes on at upstream`, async (t) => {
    const pair = await startPair(t, version);
    const { lab, holder, other, image, signal } = pair;
    await holder.limitRate({ send: SLOW_BYTES_PER_SECOND }, signal);
    await lab.upstream.resetStats();

    const pulled = other.pull(image.reference, {}, signal);
    await until(() => ingestedBytes(other) > 1_000_000, signal);
    fs.truncateSync(blobFile(holder, image), 1_500_000);
    await pulled;

    assert.equal(await servedDigest(other, image), largeLayer(image));
    const { byDigest } = await lab.upstream.stats();
    const { bytes, gets } = byDigest[largeLayer(image)] ?? { bytes: 0, gets: 0 };
    assert.ok(gets === 1 && bytes > 0 && bytes < LARGE_LAYER_BYTES, `${gets} GETs of ${bytes} bytes at upstream`);
  });
}
