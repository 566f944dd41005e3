import { setTimeout as delay } from 'node:timers/promises';
import { createRandom } from '../../common/random.ts';
import { inChunks } from '../faults/stage.ts';
import { createLab, type Lab } from '../lab/lab.ts';
import type { LabNode } from '../lab/node.ts';
import { LIKE_BUILT, runSoakNode, type Sample, sampleMirror } from './soak-node.ts';

const NODES = [
  { containerd: '2.4' },
  { containerd: '1.6.20' },
  { containerd: '2.4' },
  { containerd: '2.4', configToml: inChunks },
];
const IMAGES = 40;
/** Some layers are in several images. */
const SHARED_LAYERS = 10;
const SAMPLE_MS = 2_000;
/** containerd and mirrors keep connections that nobody uses for half a minute. */
const REST_MS_MAX = 60_000;
/** A connection or two is made again at any time: by a health check, to a registry. */
const FILES_NOISE = 4;
/** Of a node, after which it has begun to use all that it uses. */
const SETTLING_SHARE = 1 / 3;

export interface SoakOptions {
  readonly durationMs: number;
  readonly seed: number;
  readonly onSample?: (report: SoakReport) => void;
}

export interface SoakReport {
  readonly seed: number;
  readonly counts: ReadonlyMap<string, number>;
  readonly slowestPullMs: number;
  readonly failures: readonly string[];
  /** Of the mirror that is never restarted. */
  readonly witness: readonly Sample[];
  /** Of the same, after everything else has ended. */
  readonly rest: readonly Sample[];
}

/** Four nodes that pull, remove and restart by chance, among peers that fail and a network that breaks. */
export async function soak({ durationMs, seed, onSample }: SoakOptions, signal: AbortSignal): Promise<SoakReport> {
  const random = createRandom(seed);
  const lab = await createLab({ nodes: NODES }, signal);
  try {
    for (const node of lab.nodes) await node.configure([], signal);
    await Promise.all(lab.nodes.map((node) => node.startMirror([], signal, LIKE_BUILT)));
    const images = await pushImages(lab);
    await lab.upstream.delay(10);
    await lab.upstream.throttle({ perConnection: 20_000_000 });
    const over = AbortSignal.any([signal, AbortSignal.timeout(durationMs)]);
    const counts = new Map<string, number>();
    const failures: string[] = [];
    const witness: Sample[] = [];
    const rest: Sample[] = [];
    let slowestPullMs = 0;
    const report = (): SoakReport => ({ seed, counts, slowestPullMs, failures, witness, rest });
    const did = (node: LabNode) => (what: string, ms: number, error?: unknown) => {
      counts.set(what, (counts.get(what) ?? 0) + 1);
      if (what.startsWith('pull')) slowestPullMs = Math.max(slowestPullMs, ms);
      if (error !== undefined)
        failures.push(
          `${node.name}: ${what} after ${Math.round(ms)} ms: ${error instanceof Error ? error.message : JSON.stringify(error)}`,
        );
    };
    const startedAt = performance.now();
    const take = () => sampleMirror(lab.nodes[0] as LabNode, performance.now() - startedAt);
    const sampling = async () => {
      while (!over.aborted) {
        const sample = take();
        if (sample !== undefined) witness.push(sample);
        onSample?.(report());
        await delay(SAMPLE_MS, undefined, { signal: over }).catch(() => {});
      }
    };
    // Each node has chance of its own: what one does must not depend on how fast another is.
    const running = lab.nodes.map((node, index) =>
      runSoakNode(
        { lab, node, images, random: createRandom(Math.floor(random() * 2 ** 32)), did: did(node) },
        { isWitness: index === 0 },
        over,
      ).catch((error: unknown) => {
        if (!over.aborted) failures.push(`${node.name}: ${error instanceof Error ? error.stack : String(error)}`);
      }),
    );
    await Promise.all([...running, sampling(), disturbNetwork(lab, random, over)]);
    signal.throwIfAborted();
    const enough = Math.min(...witness.map(({ files }) => files)) + FILES_NOISE;
    for (const endsAt = performance.now() + REST_MS_MAX; performance.now() < endsAt; ) {
      const sample = take();
      if (sample !== undefined) rest.push(sample);
      if (sample !== undefined && sample.files <= enough) break;
      await delay(SAMPLE_MS, undefined, { signal });
    }
    return report();
  } finally {
    await lab.down();
  }
}

function pushImages(lab: Lab) {
  return Promise.all(
    Array.from({ length: IMAGES }, (_, index) =>
      lab.upstream.push(`soak/app-${index}:v1`, {
        seed: `soak-${index}`,
        layers: [
          { bytes: 2_500_000, seed: `shared-${index % SHARED_LAYERS}` },
          { bytes: 1_500_000 },
          { bytes: 200_000, gzip: true },
        ],
      }),
    ),
  );
}

/** Cuts nodes off from each other, makes their links slow, and the registry too; and puts it right again. */
async function disturbNetwork(lab: Lab, random: () => number, signal: AbortSignal): Promise<void> {
  const pick = () => lab.nodes[Math.floor(random() * lab.nodes.length)] as LabNode;
  const pause = (ms: number) => delay(ms, undefined, { signal }).catch(() => {});
  while (!signal.aborted) {
    await pause(1_000 + random() * 6_000);
    const node = pick();
    const dice = random();
    if (dice < 0.4) {
      await node.block(lab.nodes.filter((other) => other !== node && random() < 0.6));
      await pause(random() * 4_000);
      await node.block([]);
    } else if (dice < 0.7) {
      await node.limitRate({ send: 1_000_000 + random() * 5_000_000 });
      await pause(random() * 5_000);
      await node.limitRate(undefined);
    } else {
      await lab.upstream.delay(random() * 600);
      await pause(random() * 5_000);
      await lab.upstream.delay(10);
    }
  }
}

/**
 * Of the least that was resident in each half of what is left after settling: what is resident goes up and down with the collector's
 * work, and what leaks lifts the floor.
 */
const GROWTH_BYTES_MAX = 24 * 1024 * 1024;
const GROWTH_FILES_MAX = 16;

/** What is wrong with how it went; nothing, hopefully. */
export function judgeSoak({ failures, witness, rest, counts }: SoakReport): readonly string[] {
  const settled = witness.slice(Math.floor(witness.length * SETTLING_SHARE));
  const half = Math.floor(settled.length / 2);
  const floor = (samples: readonly Sample[], of: 'residentBytes' | 'files') =>
    Math.min(...samples.map((one) => one[of]));
  const grew = [settled.slice(0, half), settled.slice(half)].map((samples) => floor(samples, 'residentBytes'));
  const [before, after] = grew as [number, number];
  const complaints = [...failures];
  if (countPulls(counts) === 0 || half === 0) complaints.push('nothing happened');
  if (new Set(witness.map(({ pid }) => pid)).size > 1) complaints.push('the mirror that was to stay was restarted');
  if (after - before > GROWTH_BYTES_MAX) complaints.push(`memory grew from ${before} to ${after} bytes`);
  const files = { before: floor(settled.slice(0, half), 'files'), after: floor(rest, 'files') };
  if (files.after - files.before > GROWTH_FILES_MAX) {
    complaints.push(`open files grew from ${files.before} to ${files.after}, and stay`);
  }
  return complaints;
}

export function countPulls(counts: SoakReport['counts']): number {
  return [...counts].filter(([what]) => what.startsWith('pull')).reduce((sum, [, count]) => sum + count, 0);
}
