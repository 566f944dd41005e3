/**
 * The second node of a warm peer: images small and large pulled through it, side by side with an unthrottled registry. Like is
 * compared with like: what peers encrypt, as they do by default, with a registry that does, and what they do not with one that does not.
 */
import { atMost, type BenchOptions, type BenchResult } from './bench.ts';
import { createPeerPulls } from './contestants/peer-pulls.ts';
import { IMAGES, type ImageName } from './herds/herd-lab.ts';

/** Small pulls vary more, and take less time to repeat. */
const CASES: ReadonlyArray<{ readonly image: ImageName; readonly rounds: number }> = [
  { image: '10 MB', rounds: 41 },
  { image: '4x25 MB', rounds: 31 },
  { image: '1x300 MB', rounds: 9 },
];

const RATIO_MAX = 1.05;

export async function run({ progress, signal, rounds, only }: BenchOptions): Promise<BenchResult> {
  const contest = await createPeerPulls(signal);
  try {
    const rows = [];
    const limits = [];
    const cases = CASES.filter(({ image }) => only === undefined || image.includes(only));
    const nameOf = (image: ImageName) => `bench/warm:${image.replaceAll(' ', '-')}`;
    for (const { image } of cases) await contest.push(nameOf(image), IMAGES[image]);
    for (const { encryption, like, peer, registry } of [
      { encryption: 'on', like: 'with TLS', peer: 'a peer', registry: 'docker-registry with TLS' },
      {
        encryption: 'off',
        like: 'docker-registry',
        peer: 'an unencrypted peer',
        registry: 'docker-registry without TLS',
      },
    ] as const) {
      await contest.encrypt(encryption);
      for (const { image, rounds: usual } of cases) {
        for (const containerd of contest.containerds) {
          const times = await contest.measure({
            image: nameOf(image),
            containerd,
            ways: ['docker-registry', 'with TLS', 'through a peer'],
            rounds: rounds ?? usual,
          });
          progress(`${image}, encryption ${encryption}, containerd ${containerd} measured`);
          const ratio = times['through a peer'] / times[like];
          const whole = Object.entries(times).map(([way, ms]) => [way, Math.round(ms)]);
          rows.push({
            image,
            containerd,
            'peers encrypt': encryption,
            ...Object.fromEntries(whole),
            ratio: ratio.toFixed(2),
          });
          const what = `a ${image} pull through ${peer} by containerd ${containerd}`;
          limits.push(atMost(`${what}, of one from ${registry},`, ratio, RATIO_MAX));
        }
      }
    }
    return { name: 'warm', unit: 'ms, medians; ratio to the registry that encrypts as the peers do', rows, limits };
  } finally {
    await contest.down();
  }
}
