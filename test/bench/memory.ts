/** What a mirror takes of its node's memory, as it is shipped: at rest, and while it serves. */
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { createLab, type Lab } from '../lab/lab.ts';
import { enteringNetwork, run as runCommand } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import type { PushedImage } from '../lab/push.ts';
import { UPSTREAM_HOST } from '../lab/upstream.ts';
import { atMost, type BenchOptions, type BenchResult } from './bench.ts';
import { type BuiltMirror, startBuiltMirror } from './contestants/built-mirror.ts';

const ROUTERS = ['one-hop', 'kad'] as const;
const NODES = ['2.4', '1.6.20', '2.4', '1.6.20'] as const;
const LAYER_BYTES = 300 * 1024 * 1024;
const CLIENTS = 4;
const REPOSITORY = 'bench/memory';
/** What the start has left behind is collected by then. */
const REST_MS = 20_000;

const REST_MEGABYTES_MAX = 90;
const SERVING_MEGABYTES_MAX = 128;

export async function run({ progress, signal }: BenchOptions): Promise<BenchResult> {
  const lab = await createLab({ nodes: NODES.map((containerd) => ({ containerd })) }, signal);
  try {
    for (const node of lab.nodes) await node.configure([], signal);
    const rows = [];
    const limits = [];
    for (const router of ROUTERS) {
      const name = `${REPOSITORY}:${router}`;
      const image = await lab.upstream.push(name, { seed: router, layers: [{ bytes: LAYER_BYTES }] }, signal);
      const taken = await measure(lab, router, image, signal);
      progress(`${router} measured`);
      rows.push({
        router,
        'at rest': Math.round(taken.atRest),
        'after a pull': Math.round(taken.afterAPull),
        [`peak, ${CLIENTS} clients`]: Math.round(taken.clientsPeak),
        'peak, 3 peers': Math.round(taken.peersPeak),
        'peak of a puller': Math.round(taken.pullerPeak),
      });
      if (router !== 'one-hop') continue; // The promises are the default's; the other's figures stand beside them.
      limits.push(
        atMost(`MB at rest with ${NODES.length - 1} peers`, taken.atRest, REST_MEGABYTES_MAX),
        atMost(`MB while serving 300 MiB to ${CLIENTS} clients`, taken.clientsPeak, SERVING_MEGABYTES_MAX),
        atMost('MB while serving 300 MiB to 3 peers', taken.peersPeak, SERVING_MEGABYTES_MAX),
      );
    }
    return { name: 'memory', unit: 'MB of RSS', rows, limits };
  } finally {
    await lab.down();
  }
}

async function measure(lab: Lab, router: (typeof ROUTERS)[number], image: PushedImage, signal: AbortSignal) {
  const mirrors = await Promise.all(lab.nodes.map((node) => startBuiltMirror(lab, node, router, signal)));
  try {
    await delay(REST_MS, undefined, { signal });
    const atRest = Math.max(...mirrors.map((mirror) => mirror.rssMegabytes()));
    const [[mirror, node]] = mirrors.map((mirror, index) => [mirror, lab.nodes[index]]) as [[BuiltMirror, LabNode]];
    await node.pull(image.reference, {}, signal);
    const afterAPull = mirror.rssMegabytes();
    mirror.peakRssMegabytes();
    await downloadAtOnce(node, image, signal);
    const clientsPeak = mirror.peakRssMegabytes();
    // Three containerds at once, each through its own mirror, encrypted.
    await Promise.all(lab.nodes.slice(1).map((other) => other.pull(image.reference, {}, signal)));
    return {
      atRest,
      afterAPull,
      clientsPeak,
      peersPeak: mirror.peakRssMegabytes(),
      pullerPeak: Math.max(...mirrors.slice(1).map((puller) => puller.peakRssMegabytes())),
    };
  } finally {
    for (const { program } of mirrors) await program.stop();
  }
}

async function downloadAtOnce(node: LabNode, { manifests }: PushedImage, signal: AbortSignal): Promise<void> {
  const program = path.join(import.meta.dirname, 'contestants', 'downloads.ts');
  const blob = manifests[0]?.layers[0]?.digest;
  const target = `/v2/${REPOSITORY}/blobs/${blob}?ns=${encodeURIComponent(UPSTREAM_HOST)}`;
  const argv = [process.execPath, program, '127.0.0.1:29981', target, String(CLIENTS)];
  await runCommand(enteringNetwork(node.holder(), argv), { title: `${CLIENTS} downloads` }, signal);
}
