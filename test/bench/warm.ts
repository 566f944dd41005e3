/** The second node of a warm peer: images small and large pulled through it, side by side with an unthrottled registry. */
import { atMost, type BenchOptions, type BenchResult } from './bench.ts';
import { createPeerPulls } from './contestants/peer-pulls.ts';
import { IMAGES, type ImageName } from './herds/herd-lab.ts';

/** Small pulls vary more, and take less time to repeat. */
const CASES: ReadonlyArray<{ readonly image: ImageName; readonly rounds: number }> = [
  { image: '10 MB', rounds: 41 },
  { image: '4x25 MB', rounds: 31 },
  { image: '1x300 MB', rounds: 9 },
];

export async function run({ progress, signal, rounds, only }: BenchOptions): Promise<BenchResult> {
  const contest = await createPeerPulls(signal);
  try {
    const rows = [];
    const limits = [];
    for (const { image, rounds: usual } of CASES.filter((each) => only === undefined || each.image.includes(only))) {
      const name = `bench/warm:${image.replaceAll(' ', '-')}`;
      await contest.push(name, IMAGES[image]);
      for (const containerd of contest.containerds) {
        const { direct, peer } = await contest.measure(name, containerd, rounds ?? usual);
        progress(`${image}, containerd ${containerd} measured`);
        const ratio = peer / direct;
        rows.push({
          image,
          containerd,
          'docker-registry': Math.round(direct),
          'through a peer': Math.round(peer),
          ratio: Number(ratio.toFixed(2)),
        });
        limits.push(
          atMost(
            `a ${image} pull through a peer by containerd ${containerd}, of one from docker-registry,`,
            ratio,
            1.05,
          ),
        );
      }
    }
    return { name: 'warm', unit: 'ms, medians', rows, limits };
  } finally {
    await contest.down();
  }
}
