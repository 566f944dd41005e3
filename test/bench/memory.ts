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
import { eventLoopDelayMs } from './contestants/event-loop-delay.ts';

const ROUTERS = ['one-hop', 'kad'] as const;
const NODES = ['2.4', '1.6.20', '2.4', '1.6.20'] as const;
const LAYER_BYTES = 300 * 1024 * 1024;
const CLIENTS = 4;
/** One for each client that a mirror relays to, and one for each peer that it uploads to, all at once; for longer than they take to begin. */
const CROWD_LAYERS = Array.from({ length: 8 }, () => ({ bytes: 200 * 1024 * 1024 }));
const REPOSITORY = 'bench/memory';
/** What the start has left behind is collected by then. */
const REST_MS = 20_000;

const REST_MEGABYTES_MAX = 90;
const SERVING_MEGABYTES_MAX = 128;
const EVENT_LOOP_DELAY_MS_MAX = 20;

export async function run({ progress, signal }: BenchOptions): Promise<BenchResult> {
  const lab = await createLab({ nodes: NODES.map((containerd) => ({ containerd })) }, signal);
  try {
    for (const node of lab.nodes) await node.configure([], signal);
    const rows = [];
    const limits = [];
    for (const router of ROUTERS) {
      const name = `${REPOSITORY}:${router}`;
      const image = await lab.upstream.push(name, { seed: router, layers: [{ bytes: LAYER_BYTES }] }, signal);
      const crowd = {
        held: await lab.upstream.push(`${name}-held`, { seed: `${router} held`, layers: CROWD_LAYERS }, signal),
        relayed: await lab.upstream.push(
          `${name}-relayed`,
          { seed: `${router} relayed`, layers: CROWD_LAYERS },
          signal,
        ),
      };
      progress(`${router}: images pushed`);
      const taken = await measure(lab, router, { image, crowd }, signal);
      progress(`${router} measured`);
      rows.push({
        router,
        'at rest': Math.round(taken.atRest),
        'after a pull': Math.round(taken.afterAPull),
        [`peak, ${CLIENTS} clients`]: Math.round(taken.clientsPeak),
        'peak, 3 peers': Math.round(taken.peersPeak),
        'peak of a puller': Math.round(taken.pullerPeak),
        'peak, 8 clients and 8 peers': Math.round(taken.crowdPeak),
        'event loop late by, p99 ms': Number(taken.crowdDelayMs.toFixed(1)),
      });
      if (router !== 'one-hop') continue; // The promises are the default's; the other's figures stand beside them.
      limits.push(
        atMost(`MB at rest with ${NODES.length - 1} peers`, taken.atRest, REST_MEGABYTES_MAX),
        atMost(`MB while serving 300 MiB to ${CLIENTS} clients`, taken.clientsPeak, SERVING_MEGABYTES_MAX),
        atMost('MB while serving 300 MiB to 3 peers', taken.peersPeak, SERVING_MEGABYTES_MAX),
        atMost('MB while relaying to 8 clients and uploading to 8 peers', taken.crowdPeak, SERVING_MEGABYTES_MAX),
        atMost('ms by which the event loop is late meanwhile, p99,', taken.crowdDelayMs, EVENT_LOOP_DELAY_MS_MAX),
      );
    }
    return { name: 'memory', unit: 'MB of RSS, unless said', rows, limits };
  } finally {
    await lab.down();
  }
}

interface Images {
  readonly image: PushedImage;
  readonly crowd: Crowd;
}

interface Crowd {
  /** What the mirror's node holds, for peers to get. */
  readonly held: PushedImage;
  /** What another node holds, for clients to get through the mirror. */
  readonly relayed: PushedImage;
}

async function measure(lab: Lab, router: (typeof ROUTERS)[number], { image, crowd }: Images, signal: AbortSignal) {
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
    const peersPeak = mirror.peakRssMegabytes();
    const pullerPeak = Math.max(...mirrors.slice(1).map((puller) => puller.peakRssMegabytes()));
    await node.pull(crowd.held.reference, {}, signal);
    await (lab.nodes[1] as LabNode).pull(crowd.relayed.reference, {}, signal);
    mirror.peakRssMegabytes();
    const crowdDelayMs = await serveCrowd(lab, crowd, signal);
    return {
      atRest,
      afterAPull,
      clientsPeak,
      peersPeak,
      pullerPeak,
      crowdPeak: mirror.peakRssMegabytes(),
      crowdDelayMs,
    };
  } finally {
    for (const { program } of mirrors) await program.stop();
  }
}

async function downloadAtOnce(node: LabNode, { manifests }: PushedImage, signal: AbortSignal): Promise<void> {
  const [layer] = layersOf(manifests);
  const argv = [
    process.execPath,
    contestant('downloads.ts'),
    '127.0.0.1:29981',
    String(CLIENTS),
    target(layer as string),
  ];
  await runCommand(enteringNetwork(node.holder(), argv), { title: `${CLIENTS} downloads` }, signal);
}

/**
 * Each client and each peer gets a layer of its own: no node sends one to more than four peers at once. Answers how late the mirror's
 * event loop was from their first request on: while they are started, the machine has no processor left for a mirror.
 */
async function serveCrowd(
  { nodes, swarmKeyFile }: Lab,
  { held, relayed }: Crowd,
  signal: AbortSignal,
): Promise<number> {
  const [node, , other] = nodes as [LabNode, LabNode, LabNode];
  const targets = layersOf(relayed.manifests).map(target);
  const clients = [process.execPath, contestant('downloads.ts'), '127.0.0.1:29981', '1', ...targets];
  const address = `${node.address}:29982`;
  const digests = layersOf(held.manifests);
  const peers = [process.execPath, contestant('peer-downloads.ts'), address, swarmKeyFile, REPOSITORY, ...digests];
  const go = Promise.withResolvers<void>();
  const begin = (holder: LabNode, argv: readonly string[], title: string) => {
    const { promise: isReady, resolve } = Promise.withResolvers<void>();
    const ready = () => {
      resolve();
      return go.promise;
    };
    return { isReady, ended: runCommand(enteringNetwork(holder.holder(), argv), { title, ready }, signal) };
  };
  const commands = [
    begin(node, clients, 'downloads through the mirror'),
    begin(other, peers, 'downloads from the mirror'),
  ];
  const allEnded = Promise.all(commands.map(({ ended }) => ended));
  await Promise.race([Promise.all(commands.map(({ isReady }) => isReady)), allEnded]);
  return eventLoopDelayMs(node, async () => {
    go.resolve();
    await allEnded;
  });
}

function layersOf(manifests: PushedImage['manifests']): readonly string[] {
  return manifests.flatMap(({ layers }) => layers.map(({ digest }) => digest));
}

function target(digest: string): string {
  return `/v2/${REPOSITORY}/blobs/${digest}?ns=${encodeURIComponent(UPSTREAM_HOST)}`;
}

function contestant(file: string): string {
  return path.join(import.meta.dirname, 'contestants', file);
}
