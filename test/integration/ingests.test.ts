/** What real containerds are receiving from a slow upstream is read while it arrives. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { silentLogger } from '../../common/log.ts';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import { createContainerdClient } from '../../containerd/api/client.ts';
import { createContainerdStore } from '../../mirror/store/containerd-store.ts';
import type { IngestEvent, OpenIngest, Store } from '../../mirror/store/store.ts';
import { watchIngests } from '../conformance/store-ingests-suite.ts';
import { watch } from '../conformance/store-suite.ts';
import { createLab, type Lab } from '../lab/lab.ts';
import type { LabNode } from '../lab/node.ts';

const DEADLINE_MS = 120_000;
const LAYER_BYTES = 16_000_000;
const UPSTREAM_BYTES_PER_SECOND = 8_000_000;
/** Half of the time in which containerd writes its next megabyte here, and enough for a busy machine. */
const LATE_MS_MAX = 60;
const ABORTED_MS_MAX = 2_000;

/** What `concurrent_layer_fetch_buffer` fetches in parallel must be written from its start all the same. */
const inChunks = (configToml: string) => `${configToml}
[plugins."io.containerd.transfer.v1.local"]
  max_concurrent_downloads = 4
  concurrent_layer_fetch_buffer = ${2 * 1024 * 1024}
`;

const NODES = [
  { title: 'containerd 1.6.20', node: { containerd: '1.6.20' } },
  { title: 'containerd 2.4', node: { containerd: '2.4' } },
  { title: 'containerd 2.4 that fetches in chunks', node: { containerd: '2.4', configToml: inChunks } },
];

/** A node that can pull one slow image of one layer, and nobody who follows yet. */
async function startNode(t: TestContext, node: (typeof NODES)[number]['node']) {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const lab: Lab = await createLab({ nodes: [node] }, signal);
  t.after(() => lab.down());
  const image = await lab.upstream.push('team/app:v1', { seed: 'arriving', layers: [{ bytes: LAYER_BYTES }] });
  await lab.upstream.throttle({ total: UPSTREAM_BYTES_PER_SECOND });
  const layer = parseDigest(image.manifests[0]?.layers[0]?.digest ?? '') as Digest;
  const isOfLayer = (type: IngestEvent['type']) => (event: IngestEvent) =>
    event.type === type && event.digest === layer;
  return {
    node: lab.nodes[0] as LabNode,
    signal,
    image,
    layer,
    hasStarted: isOfLayer('ingest-started'),
    hasEnded: isOfLayer('ingest-ended'),
  };
}

/** The store of a mirror on the node; the node's folders are seen from outside of it. */
async function startStore(t: TestContext, node: LabNode) {
  const client = createContainerdClient({ socket: node.socket, namespace: 'k8s.io' });
  const contentRoot = path.join(node.folder, 'var-lib-containerd/io.containerd.content.v1.content');
  const store = createContainerdStore({
    client: { ...client, contentRoot: async () => contentRoot },
    log: silentLogger,
  });
  t.after(() => client.close());
  const news = watchIngests(t, store);
  const events = watch(t, store);
  await events.until(({ type }) => type === 'listed');
  const openLayer = async (digest: Digest): Promise<OpenIngest> => {
    const ingest = await store.ingest(digest, t.signal);
    assert.ok(ingest, 'the layer is not arriving');
    t.after(() => ingest.file.close());
    return ingest;
  };
  return { store, news, events, openLayer, contentRoot };
}

interface Read {
  readonly sha256: string;
  readonly bytes: number;
  /** From each write to when it was told. The kernel dates writes by a clock that ticks every few milliseconds. */
  readonly lateMs: readonly number[];
}

/** Reads what arrives, each part as soon as it is told, until all is there or `aborted`. */
async function readWhileItArrives(ingest: OpenIngest, signal: AbortSignal): Promise<Read> {
  const hash = createHash('sha256');
  const lateMs: number[] = [];
  let offset = 0;
  while (offset < ingest.sizeBytes) {
    const grown = await ingest.grown(offset, signal);
    if (grown === 'aborted') break;
    const { mtimeMs } = await ingest.file.stat();
    lateMs.push(Date.now() - mtimeMs);
    const { buffer, bytesRead } = await ingest.file.read(Buffer.alloc(grown - offset), 0, grown - offset, offset);
    assert.equal(bytesRead, grown - offset);
    hash.update(buffer);
    offset = grown;
  }
  return {
    sha256: `sha256:${hash.digest('hex')}`,
    bytes: offset,
    lateMs: lateMs.toSorted((one, other) => one - other),
  };
}

async function isWhole(store: Store, digest: Digest, signal: AbortSignal): Promise<boolean> {
  const content = await store.open(digest, signal);
  await content.file.close();
  return true;
}

for (const { title, node: options } of NODES) {
  test(`${title}: who follows a slow pull reads its bytes as they arrive, and never others`, async (t) => {
    const { node, signal, image, layer, hasStarted, hasEnded } = await startNode(t, options);
    const { store, news, events, openLayer } = await startStore(t, node);
    const pulling = node.pull(image.reference, {}, signal);
    await news.until(hasStarted);
    const first = await openLayer(layer);
    const reading = readWhileItArrives(first, signal);
    await first.grown(LAYER_BYTES / 4, signal);
    // A mirror that starts now does not know whether what it finds was left behind, until it grows.
    const other = await startStore(t, node);
    await other.news.until(hasStarted);
    const readingLate = readWhileItArrives(await other.openLayer(layer), signal);
    await pulling;

    const [read, readLate] = [await reading, await readingLate];
    t.diagnostic(`late by, ms: ${read.lateMs.map((lateMs) => lateMs.toFixed(1)).join(' ')}`);
    const half = read.lateMs[Math.floor(read.lateMs.length / 2)] ?? Infinity;
    assert.equal(first.sizeBytes, LAYER_BYTES);
    assert.equal(read.sha256, layer);
    assert.equal(readLate.sha256, layer);
    assert.ok(read.lateMs.length > 3, 'it arrived in one piece');
    assert.ok(half <= LATE_MS_MAX, `half of it was told later than after ${half} ms`);
    await news.until((event) => hasEnded(event) && event.type === 'ingest-ended' && event.committed);
    await events.until((event) => event.type === 'content-created' && event.digest === layer);
    assert.ok(await isWhole(store, layer, signal));
  });

  test(`${title}: a pull that is cancelled is told to who follows it`, async (t) => {
    const { node, image, layer, signal, hasStarted, hasEnded } = await startNode(t, options);
    const { news, openLayer } = await startStore(t, node);
    const cancelling = new AbortController();
    const pulling = node.pull(image.reference, {}, cancelling.signal);
    await news.until(hasStarted);
    const ingest = await openLayer(layer);
    await ingest.grown(LAYER_BYTES / 4, signal);
    const reading = readWhileItArrives(ingest, signal);

    const cancelledAt = performance.now();
    cancelling.abort();
    await assert.rejects(pulling);

    const { bytes } = await reading;
    const tookMs = performance.now() - cancelledAt;
    t.diagnostic(`told after ${tookMs.toFixed(1)} ms, at ${bytes} bytes`);
    assert.ok(bytes < LAYER_BYTES);
    assert.ok(tookMs <= ABORTED_MS_MAX, `told after ${tookMs} ms`);
    await news.until((event) => hasEnded(event) && event.type === 'ingest-ended' && !event.committed);
    assert.deepEqual(news.seen.filter(hasStarted).length, 1);
  });

  test(`${title}: what a killed containerd leaves is not arriving, until a pull goes on with it`, async (t) => {
    const { node, image, layer, signal, hasStarted, hasEnded } = await startNode(t, options);
    const { store, news, openLayer, contentRoot } = await startStore(t, node);
    const pulling = node.pull(image.reference, {}, signal);
    pulling.catch(() => {}); // Awaited below.
    await news.until(hasStarted);
    const ingest = await openLayer(layer);
    await ingest.grown(LAYER_BYTES / 4, signal);
    const reading = readWhileItArrives(ingest, signal);

    const killedAt = performance.now();
    await node.containerd().stop('SIGKILL');
    await assert.rejects(pulling);
    const { bytes: leftBytes } = await reading;
    t.diagnostic(`told after ${(performance.now() - killedAt).toFixed(1)} ms, at ${leftBytes} bytes`);
    await news.until(hasEnded);

    assert.equal(await store.ingest(layer, signal), undefined);
    assert.equal((await fs.readdir(path.join(contentRoot, 'ingest'))).length, 1, 'it is left behind');
    await node.restartContainerd();
    const other = await startStore(t, node);
    assert.equal(await other.store.ingest(layer, signal), undefined);
    assert.equal(other.news.seen.filter(hasStarted).length, 0);
    const again = node.pull(image.reference, {}, signal);
    await other.news.until(hasStarted);
    const resumed = await other.openLayer(layer);
    assert.ok(resumed.availableBytes > leftBytes, 'it begins again instead of going on');
    const read = await readWhileItArrives(resumed, signal);
    await again;
    assert.equal(read.sha256, layer);
    await news.until(hasStarted, news.seen.findIndex(hasEnded));
  });
}
