/** A 300 MiB image pulled by a real containerd through a peer, side by side with the same pull straight from a registry. */
import { createLab } from '../lab/lab.ts';
import type { LabNode } from '../lab/node.ts';
import { REGISTRY_HOST, UPSTREAM_HOST } from '../lab/upstream.ts';
import { atMost, type BenchOptions, type BenchResult, median } from './bench.ts';

const LAYER_BYTES = 300 * 1024 * 1024;
const ROUNDS = 7;
const CONTAINERDS = ['2.4', '1.6.20'] as const;
const IMAGE = 'bench/app:v1';

const WAYS = {
  // The registry itself, without the lab's proxy in front of it.
  'docker-registry': `${REGISTRY_HOST}/${IMAGE}`,
  'through a peer': `${UPSTREAM_HOST}/${IMAGE}`,
} as const;
type Way = keyof typeof WAYS;

export async function run({ progress, signal }: BenchOptions): Promise<BenchResult> {
  const lab = await createLab({ nodes: ['2.4', ...CONTAINERDS].map((containerd) => ({ containerd })) }, signal);
  try {
    const [holder, ...pullers] = lab.nodes as [LabNode, ...LabNode[]];
    for (const node of lab.nodes) await node.configure();
    await Promise.all(lab.nodes.map((node) => node.startMirror()));
    progress('pushing the image');
    await lab.upstream.push(IMAGE, { seed: 'bench', layers: [{ bytes: LAYER_BYTES }] });
    await holder.pull(WAYS['through a peer']);
    const rows = [];
    const limits = [];
    for (const node of pullers) {
      await lab.upstream.resetStats();
      const samples = await measure(node, progress, signal);
      const { blobGets } = await lab.upstream.stats();
      if (blobGets > 0) throw new Error(`${blobGets} blobs came from upstream, not from the peer`);
      const medians = { direct: median(samples['docker-registry']), peer: median(samples['through a peer']) };
      rows.push({
        containerd: node.containerdVersion,
        'docker-registry': Math.round(medians.direct),
        'through a peer': Math.round(medians.peer),
        ratio: Number((medians.peer / medians.direct).toFixed(2)),
      });
      const name = `a 300 MiB pull through a peer by containerd ${node.containerdVersion}, of one from docker-registry,`;
      limits.push(atMost(name, medians.peer / medians.direct, 1.1));
    }
    return { name: 'pull', unit: 'ms, medians', rows, limits };
  } finally {
    await lab.down();
  }
}

async function measure(
  node: LabNode,
  progress: (line: string) => void,
  signal: AbortSignal,
): Promise<Record<Way, number[]>> {
  const samples: Record<Way, number[]> = { 'docker-registry': [], 'through a peer': [] };
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const way of Object.keys(WAYS) as Way[]) {
      const { ms } = await node.pull(WAYS[way], {}, signal);
      // With the image goes its content: the next pull starts from nothing.
      await node.removeImage(WAYS[way], signal);
      if (round > 0) samples[way].push(ms); // The first round only warms up.
    }
    progress(`containerd ${node.containerdVersion}: round ${round} of ${ROUNDS}`);
  }
  return samples;
}
