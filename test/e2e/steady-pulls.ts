import fs from 'node:fs';
import path from 'node:path';
import type { KubeList } from '../lab/cluster/kube-object.ts';
import { until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import { failedPulls } from './deployment.ts';
import type { InstalledCluster } from './installed-cluster.ts';

/** A round is half a second of the registry's time, when it sends one copy. */
const LAYERS = Array.from({ length: 3 }, () => ({ bytes: 3_000_000 }));
export const UPSTREAM_RATE = { total: 18_000_000 };
/** Then the next round begins, though a node that is switched off does not answer. */
const ROUND_MS = 3_000;
const MIDWAY_MS = 30_000;
const PODS = '/api/v1/namespaces/team/pods';
const INGESTS = 'var-lib-containerd/io.containerd.content.v1.content/ingest';

export interface SteadyPulls {
  /** Resolves at a moment when each of the nodes is pulling: part of a layer is on its disk. */
  midway(nodes: readonly LabNode[]): Promise<void>;
  /** Resolves when all of a round that begins from now on run. */
  anotherRound(): Promise<void>;
  /** Ends it when every pod runs, but for those that were evicted or whose node is gone. Safe to call twice. */
  stop(): Promise<PullReport>;
}

export interface PullReport {
  readonly rounds: number;
  /** Pulls by kubelets' Events, and how long the slowest took. */
  readonly pulled: number;
  readonly slowestMs: number;
  /** Evicted before they ran, or gone with their node. */
  readonly gone: number;
  /** What kubelets say of pulls that failed. */
  readonly failed: readonly string[];
}

interface Pod {
  readonly metadata: { readonly name: string };
  readonly status: { readonly phase: string };
}

/** Pulls all the time: a new image on every node that takes pods, at the same moment, by pods that opted in. */
export async function startPulls(cluster: InstalledCluster, signal: AbortSignal): Promise<SteadyPulls> {
  const { lab, plane } = cluster;
  const { call } = plane;
  /** By pod; what is here has neither run nor gone. */
  const awaited = new Map<string, LabNode>();
  let rounds = 0;
  let gone = 0;
  let isStopped = false;
  await lab.upstream.throttle(UPSTREAM_RATE);

  async function roll(): Promise<readonly string[]> {
    const tag = `round-${rounds++}`;
    const spec = { seed: tag, layers: LAYERS, runs: ['sleep', '1000000'] };
    const { reference } = await lab.upstream.push(`team/app:${tag}`, spec, signal);
    const { body } = await call<KubeList<Node>>('GET', '/api/v1/nodes');
    const open = body.items.filter(({ spec: { unschedulable } }) => unschedulable !== true);
    const nodes = lab.nodes.filter(({ name }) => open.some(({ metadata }) => metadata.name === name));
    return Promise.all(
      nodes.map(async (node) => {
        const name = `${tag}-${node.name}`;
        const answer = await call('POST', PODS, podOf(name, reference, node));
        if (answer.status !== 201) throw new Error(`${name}: ${JSON.stringify(answer.body)}`);
        awaited.set(name, node);
        return name;
      }),
    );
  }

  /** Crosses off what runs, and takes it away; what is not there any more, and what waits for a node that is none. */
  async function look(): Promise<void> {
    const names = [...awaited.keys()];
    const { body } = await call<KubeList<Pod>>('GET', PODS);
    const pods = new Map(body.items.map((pod) => [pod.metadata.name, pod]));
    for (const name of names) {
      const pod = pods.get(name);
      const isGone = pod === undefined || !lab.nodes.includes(awaited.get(name) as LabNode);
      if (!isGone && pod.status.phase !== 'Running') continue;
      awaited.delete(name);
      gone += isGone ? 1 : 0;
      if (!isGone) await call('DELETE', `${PODS}/${name}?gracePeriodSeconds=0`);
    }
  }

  async function untilRun(names: () => readonly string[], runSignal: AbortSignal): Promise<void> {
    const isDone = async () => {
      await look();
      return names().every((name) => !awaited.has(name));
    };
    await until(isDone, runSignal, () => `these do not run: ${[...awaited.keys()].join(', ')}`);
  }

  let last: readonly string[] = [];
  const rolling = (async () => {
    while (!isStopped) {
      last = await roll();
      const round = AbortSignal.timeout(ROUND_MS);
      await untilRun(() => last, AbortSignal.any([signal, round])).catch((error: unknown) => {
        if (!round.aborted) throw error;
      });
    }
    await untilRun(() => [...awaited.keys()], signal);
  })();
  let failure: unknown;
  rolling.catch((error: unknown) => {
    failure = error; // `stop` tells of it, too.
  });
  const untilSeen = (isSeen: () => boolean, seenSignal: AbortSignal, complain: () => string) =>
    until(
      () => {
        if (failure !== undefined) throw failure;
        return isSeen();
      },
      seenSignal,
      complain,
    );

  return {
    midway: async (nodes) => {
      const late = AbortSignal.any([signal, AbortSignal.timeout(MIDWAY_MS)]);
      await untilSeen(
        () => nodes.every(isPulling),
        late,
        () => 'no moment at which all of them pull',
      );
    },
    anotherRound: async () => {
      const next = rounds;
      const names = () => [...awaited.keys()].filter((name) => name.startsWith(`round-${next}-`));
      await untilSeen(
        () => rounds > next + 1 && names().length === 0,
        signal,
        () => `these do not run: ${names().join(', ')}`,
      );
    },
    stop: async () => {
      isStopped = true;
      await rolling;
      await lab.upstream.throttle(undefined);
      const took = await pullTimes(cluster);
      const failed = await failedPulls(cluster);
      return { rounds, pulled: took.length, slowestMs: Math.round(Math.max(0, ...took)), gone, failed };
    },
  };
}

interface Node {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly unschedulable?: boolean };
}

function podOf(name: string, image: string, node: LabNode): object {
  const containers = [{ name: 'app', image }];
  const nodeSelector = { 'kubernetes.io/hostname': node.name };
  return { metadata: { name }, spec: { containers, nodeSelector, terminationGracePeriodSeconds: 0 } };
}

function isPulling({ folder }: LabNode): boolean {
  const ingests = path.join(folder, INGESTS);
  return fs.readdirSync(ingests).some((name) => sizeOf(path.join(ingests, name, 'data')) > 0);
}

function sizeOf(file: string): number {
  return fs.statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

/** `Successfully pulled image "upstream.lab:5000/team/app:v1" in 1.23s (1.23s including waiting). Image size: 9000000 bytes.` */
async function pullTimes({ plane: { call } }: InstalledCluster): Promise<readonly number[]> {
  const { body } = await call('GET', '/api/v1/namespaces/team/events?fieldSelector=reason=Pulled');
  const messages = body.items.map(({ message }) => message);
  const times = messages.map((message) => /^Successfully pulled image .* in (?:(\d+)m)?([\d.]+)(m?s) \(/.exec(message));
  return times
    .filter((match) => match !== null)
    .map(([, minutes = '0', number, unit]) => Number(minutes) * 60_000 + Number(number) * (unit === 's' ? 1000 : 1));
}
