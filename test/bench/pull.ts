/** A 300 MiB image pulled by a real containerd through a peer, side by side with the same pull straight from a registry. */
import { atMost, type BenchOptions, type BenchResult } from './bench.ts';
import { createPeerPulls } from './contestants/peer-pulls.ts';

const LAYERS = [{ bytes: 300 * 1024 * 1024 }];
const ROUNDS = 7;

export async function run({ progress, signal, rounds = ROUNDS }: BenchOptions): Promise<BenchResult> {
  const contest = await createPeerPulls(signal);
  try {
    progress('pushing the image');
    await contest.push('bench/app:v1', LAYERS);
    const rows = [];
    const limits = [];
    for (const containerd of contest.containerds) {
      const ways = ['docker-registry', 'through a peer'] as const;
      const times = await contest.measure({ image: 'bench/app:v1', containerd, ways, rounds });
      progress(`containerd ${containerd} measured`);
      const ratio = times['through a peer'] / times['docker-registry'];
      const whole = Object.entries(times).map(([way, ms]) => [way, Math.round(ms)]);
      rows.push({ containerd, ...Object.fromEntries(whole), ratio: Number(ratio.toFixed(2)) });
      const name = `a 300 MiB pull through a peer by containerd ${containerd}, of one from docker-registry,`;
      limits.push(atMost(name, ratio, 1.1));
    }
    return { name: 'pull', unit: 'ms, medians', rows, limits };
  } finally {
    await contest.down();
  }
}
