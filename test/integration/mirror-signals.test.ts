/** A mirror that is told to stop while containerd pulls through it: no pull fails, and it ends in order, in time. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { createLab, type Lab } from '../lab/lab.ts';
import { type Program, until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import type { PushedImage } from '../lab/push.ts';
import { ingestedBytes } from './ingested-bytes.ts';

const DEADLINE_MS = 120_000;
const LAYER_BYTES = 20_000_000;
/** A transfer that ends by itself while the mirror waits for it, and one that does not. */
const ENDING_BYTES_PER_SECOND = 8_000_000;
const ENDLESS_BYTES_PER_SECOND = 1_000_000;
/** Running transfers have 10 s; the rest is for closing, and for a busy machine. After 20 s it would give up. */
const STOP_MS_MAX = 18_000;
const AT_ONCE_MS_MAX = 2_000;

interface Pull {
  readonly lab: Lab;
  readonly holder: LabNode;
  readonly puller: LabNode;
  readonly image: PushedImage;
  /** Resolves when the pull that runs has succeeded. */
  readonly pulled: Promise<unknown>;
}

/** Resolves when the puller's containerd has the first bytes of a pull from the holder. */
async function startPull(t: TestContext, version: string, bytesPerSecond: number): Promise<Pull> {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const lab = await createLab({ nodes: [{ containerd: '2.4' }, { containerd: version }] }, signal);
  t.after(() => lab.down());
  for (const node of lab.nodes) await node.configure();
  await Promise.all(lab.nodes.map((node) => node.startMirror([], signal)));
  const [holder, puller] = lab.nodes as readonly [LabNode, LabNode];
  const image = await lab.upstream.push('team/app:v1', { seed: 'stopped', layers: [{ bytes: LAYER_BYTES }] });
  await holder.pull(image.reference, {}, signal);
  const url = `http://127.0.0.1:29981/v2/${image.repository}/manifests/${image.digest}?ns=upstream.lab:5000`;
  await until(async () => (await puller.fetch(url, { method: 'HEAD' })).status === 200, signal);
  await holder.limitRate({ send: bytesPerSecond }, signal);
  await lab.upstream.resetStats();
  const pulled = puller.pull(image.reference, {}, signal);
  pulled.catch(() => {}); // Told by whoever waits for it.
  await until(() => ingestedBytes(puller) > 500_000, signal);
  return { lab, holder, puller, image, pulled };
}

/** Sends SIGTERM to the node's mirror, so many times, each when the one before was heard; resolves when it has ended. */
async function terminateMirror(node: LabNode, times = 1) {
  const mirror = node.mirror() as Program;
  const startedAt = performance.now();
  for (let count = 0; count < times; count++) {
    if (count > 0) await until(() => isStopping(node), AbortSignal.timeout(AT_ONCE_MS_MAX));
    process.kill(mirror.pid() as number, 'SIGTERM');
  }
  await mirror.exited;
  return { exitCode: mirror.exitCode(), ms: performance.now() - startedAt, log: mirror.logTail() };
}

function isStopping(node: LabNode): boolean {
  return fs.readFileSync(path.join(node.folder, 'mirror.log'), 'utf8').includes('"msg":"Stopping"');
}

async function upstreamBytes({ lab, image }: Pull): Promise<number> {
  const { byDigest } = await lab.upstream.stats();
  return byDigest[image.manifests[0]?.layers[0]?.digest ?? '']?.bytes ?? 0;
}

for (const version of ['1.6.20', '2.4']) {
  test(`SIGTERM to the mirror that containerd ${version} pulls through: the transfer goes on to its end, exit 0`, async (t) => {
    const pull = await startPull(t, version, ENDING_BYTES_PER_SECOND);

    const { exitCode, ms, log } = await terminateMirror(pull.puller);

    await pull.pulled;
    assert.equal(exitCode, 0, log);
    assert.ok(ms < STOP_MS_MAX, `${ms} ms`);
    assert.equal(await upstreamBytes(pull), 0);
  });

  test(`SIGTERM to it during a transfer that would take longer: containerd ${version} goes on at upstream, exit 0 in time`, async (t) => {
    const pull = await startPull(t, version, ENDLESS_BYTES_PER_SECOND);

    const { exitCode, ms, log } = await terminateMirror(pull.puller);

    await pull.pulled;
    assert.equal(exitCode, 0, log);
    assert.ok(ms < STOP_MS_MAX, `${ms} ms`);
    const bytes = await upstreamBytes(pull);
    assert.ok(bytes > 0 && bytes < LAYER_BYTES, `${bytes} bytes from upstream`);
  });

  test(`SIGTERM to the mirror that another one fetches from: containerd ${version} goes on at upstream, exit 0`, async (t) => {
    const pull = await startPull(t, version, ENDLESS_BYTES_PER_SECOND);

    const { exitCode, ms, log } = await terminateMirror(pull.holder);

    await pull.pulled;
    assert.equal(exitCode, 0, log);
    assert.ok(ms < STOP_MS_MAX, `${ms} ms`);
  });
}

test('a second signal ends it at once: containerd goes on at upstream, exit 143', async (t) => {
  const pull = await startPull(t, '2.4', ENDLESS_BYTES_PER_SECOND);

  const { exitCode, ms } = await terminateMirror(pull.puller, 2);

  await pull.pulled;
  assert.equal(exitCode, 143);
  assert.ok(ms < AT_ONCE_MS_MAX, `${ms} ms`);
});
