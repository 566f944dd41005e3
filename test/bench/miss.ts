/** A pull of what nobody has: what asking the mirror first adds to it, side by side with the same pull on a node without one. */
import { createLab, type Lab } from '../lab/lab.ts';
import type { LabNode } from '../lab/node.ts';
import type { PushedImage } from '../lab/push.ts';
import { atMost, type BenchLimit, type BenchOptions, type BenchResult, percentile } from './bench.ts';

const CONTAINERDS = ['2.4', '1.6.20'] as const;
/** So small that what is measured is the asking. */
const LAYERS = [{ bytes: 64 * 1024 }, { bytes: 32 * 1024 }];
const LATENCY_MS = 20;
/** A 99th percentile of fewer is their maximum. */
const ROUNDS = 200;
/** The first pulls of a containerd and of a mirror take longer, each for reasons of its own. */
const WARM_UP_ROUNDS = 5;
const PROGRESS_ROUNDS = 50;
const ADDED_MS_MAX = 30;

interface Pair {
  readonly direct: LabNode;
  readonly mirrored: LabNode;
  readonly directMs: number[];
  readonly mirroredMs: number[];
}

export async function run({ progress, signal, rounds = ROUNDS }: BenchOptions): Promise<BenchResult> {
  // Of each generation one node without a mirror and one with; and a third mirror, so that who is asked is not always the other.
  const versions = [...CONTAINERDS, ...CONTAINERDS, CONTAINERDS[0]];
  const lab = await createLab({ nodes: versions.map((containerd) => ({ containerd })) }, signal);
  try {
    await lab.upstream.delay(LATENCY_MS);
    const mirrored = lab.nodes.slice(CONTAINERDS.length);
    const members = mirrored.map(({ address }) => address).join(',');
    for (const node of mirrored) await node.configure([], signal);
    await Promise.all(mirrored.map((node) => node.startMirror(['--members', members], signal)));
    const pairs = CONTAINERDS.map((_, index): Pair => {
      const [direct, other] = [lab.nodes[index], mirrored[index]] as [LabNode, LabNode];
      return { direct, mirrored: other, directMs: [], mirroredMs: [] };
    });
    for (let round = 1 - WARM_UP_ROUNDS; round <= rounds; round += 1) {
      for (const pair of pairs) await measure(lab, pair, round, signal);
      if (round > 0 && round % PROGRESS_ROUNDS === 0) progress(`round ${round} of ${rounds}`);
    }
    return summarize(pairs);
  } finally {
    await lab.down();
  }
}

async function measure(
  lab: Lab,
  { direct, mirrored, directMs, mirroredMs }: Pair,
  round: number,
  signal: AbortSignal,
): Promise<void> {
  const seed = `miss ${direct.containerdVersion} ${round}`;
  const name = `bench/miss:v${round + WARM_UP_ROUNDS}-${direct.containerdVersion}`;
  const image = await lab.upstream.push(name, { seed, layers: LAYERS }, signal);
  const pulls = [
    { node: direct, samples: directMs },
    { node: mirrored, samples: mirroredMs },
  ];
  // Neither is always the one that finds the registry's files in the page cache.
  for (const { node, samples } of round % 2 === 0 ? pulls : pulls.toReversed()) {
    const ms = await pullOnce(node, image, signal);
    if (round > 0) samples.push(ms);
  }
}

async function pullOnce(node: LabNode, { reference }: PushedImage, signal: AbortSignal): Promise<number> {
  const { ms } = await node.pull(reference, {}, signal);
  await node.removeImage(reference, signal);
  return ms;
}

function summarize(pairs: readonly Pair[]): BenchResult {
  const rows = [];
  const limits: BenchLimit[] = [];
  for (const { direct, directMs, mirroredMs } of pairs) {
    const added = (percent: number) => percentile(mirroredMs, percent) - percentile(directMs, percent);
    const round = (ms: number) => Number(ms.toFixed(1));
    rows.push({
      containerd: direct.containerdVersion,
      'no mirror p50': round(percentile(directMs, 50)),
      'no mirror p99': round(percentile(directMs, 99)),
      'mirror p50': round(percentile(mirroredMs, 50)),
      'mirror p99': round(percentile(mirroredMs, 99)),
      'added p50': round(added(50)),
      'added p90': round(added(90)),
      'added p99': round(added(99)),
    });
    const name = `ms that a miss adds to a pull by containerd ${direct.containerdVersion}, p99,`;
    limits.push(atMost(name, added(99), ADDED_MS_MAX));
  }
  return { name: 'miss', unit: `ms, a registry ${LATENCY_MS} ms away`, rows, limits };
}
