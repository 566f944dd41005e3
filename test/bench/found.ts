/** From the end of a pull on one node, by a real containerd, to the moment at which another node's mirror finds each of its digests. */
import { spawn } from 'node:child_process';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { createLab } from '../lab/lab.ts';
import { enteringNetwork } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import type { PushedImage } from '../lab/push.ts';
import { UPSTREAM_HOST } from '../lab/upstream.ts';
import { atMost, type BenchOptions, type BenchResult, median, percentile, rounded } from './bench.ts';

const PULLERS = ['2.4', '1.6.20'] as const;
const PULLS = 25;
const LAYERS = [20_000, 200_000, 50_000, 1_000_000, 100_000].map((bytes) => ({ bytes, gzip: true }));
const REPOSITORY = 'bench/found';

const FOUND_P99_MS_MAX = 100;

export async function run({ progress, signal }: BenchOptions): Promise<BenchResult> {
  const lab = await createLab({ nodes: [...PULLERS, '2.4'].map((containerd) => ({ containerd })) }, signal);
  const finding = new AbortController();
  try {
    for (const node of lab.nodes) await node.configure();
    await Promise.all(lab.nodes.map((node) => node.startMirror()));
    const finder = startFinder(lab.nodes.at(-1) as LabNode, finding.signal);
    const rows = [];
    const limits = [];
    for (const node of lab.nodes.slice(0, PULLERS.length)) {
      const { containerdVersion } = node;
      const foundMs: number[] = [];
      for (let pull = 0; pull <= PULLS; pull += 1) {
        const tag = `${REPOSITORY}:${containerdVersion}-${pull}`;
        const image = await lab.upstream.push(tag, { seed: `${containerdVersion} ${pull}`, layers: LAYERS }, signal);
        await node.pull(image.reference, {}, signal);
        const pulledAtMs = performance.timeOrigin + performance.now();
        const times = await finder.find(targetsOf(image));
        if (pull > 0) foundMs.push(...times.map((atMs) => atMs - pulledAtMs)); // The first one only warms up.
      }
      progress(`containerd ${containerdVersion}: ${PULLS} images pulled`);
      rows.push({
        containerd: containerdVersion,
        pulls: PULLS,
        digests: foundMs.length,
        p50: rounded(median(foundMs)),
        p99: rounded(percentile(foundMs, 99)),
        max: rounded(Math.max(...foundMs)),
      });
      const name = `from a pull by containerd ${containerdVersion} to found by another node, p99`;
      limits.push(atMost(name, percentile(foundMs, 99), FOUND_P99_MS_MAX));
    }
    return { name: 'found', unit: 'ms after the pull', rows, limits };
  } finally {
    finding.abort();
    await lab.down();
  }
}

function targetsOf({ manifests }: PushedImage): string[] {
  const target = (kind: string, digest: string) =>
    `/v2/${REPOSITORY}/${kind}/${digest}?ns=${encodeURIComponent(UPSTREAM_HOST)}`;
  return manifests.flatMap(({ digest, config, layers }) => [
    target('manifests', digest),
    ...[config, ...layers].map((blob) => target('blobs', blob.digest)),
  ]);
}

/** Asks the mirror of a node, from within it. Ends with the signal. */
function startFinder(node: LabNode, signal: AbortSignal) {
  const program = path.join(import.meta.dirname, 'contestants', 'finder.ts');
  const [command, ...args] = enteringNetwork(node.holder(), [process.execPath, program]) as [string, ...string[]];
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], signal });
  child.on('error', () => {}); // It is ended by the signal.
  const answers = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    /** When each of the targets was there, in milliseconds of the epoch. */
    find: async (targets: readonly string[]): Promise<number[]> => {
      child.stdin.write(`${JSON.stringify(targets)}\n`);
      const { done, value } = await answers.next();
      if (done === true) throw new Error('the finder ended: see what it wrote');
      return JSON.parse(value) as number[];
    },
  };
}
