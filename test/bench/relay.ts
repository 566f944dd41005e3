/** A blob through a peer, side by side with the same blob straight from Debian's docker-registry. */
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { type BenchOptions, type BenchResult, median, rounded } from './bench.ts';
import { startDockerRegistry } from './contestants/docker-registry.ts';
import { download } from './contestants/download.ts';
import { buildMirror, type Contestant } from './contestants/process.ts';

const BLOB_BYTES = 300 * 1024 * 1024;
const ROUNDS = 7;
const REPOSITORY = 'bench/app';

interface Way {
  readonly name: string;
  readonly address: string;
  /** Who works for it: the one that the client asks, and the holder behind it. */
  readonly asked: Contestant;
  readonly holder?: Contestant;
}

interface Sample {
  readonly speed: number;
  readonly askedCpu: number;
  readonly holderCpu: number;
}

export async function run({ progress, signal }: BenchOptions): Promise<BenchResult> {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'miroir-bench-'));
  const running: Contestant[] = [];
  const keep = <T extends Contestant>(contestant: T): T => {
    running.push(contestant);
    return contestant;
  };
  try {
    const [blobs, nothing] = [path.join(folder, 'blobs'), path.join(folder, 'nothing')];
    await Promise.all([fs.mkdir(blobs), fs.mkdir(nothing)]);
    const bytes = randomBytes(BLOB_BYTES);
    const hex = createHash('sha256').update(bytes).digest('hex');
    await fs.writeFile(path.join(blobs, hex), bytes);
    const program = await buildMirror(folder);
    const ways: Way[] = [];
    for (const encryption of ['on', 'off'] as const) {
      const holder = keep(await program.start(blobs, '', encryption));
      const asked = keep(await program.start(nothing, holder.peers, encryption));
      ways.push({ name: `relay, encryption ${encryption}`, address: asked.registry, asked, holder });
    }
    const registry = keep(await startDockerRegistry(blobs, REPOSITORY));
    ways.push({ name: 'docker-registry', address: registry.registry, asked: registry });
    const samples = new Map<Way, Sample[]>(ways.map((way) => [way, []]));
    const target = `/v2/${REPOSITORY}/blobs/sha256:${hex}`;
    for (let round = 0; round <= ROUNDS && !signal.aborted; round += 1) {
      for (const way of ways) {
        const sample = await measure(way, target);
        if (round > 0) samples.get(way)?.push(sample); // The first round only warms up.
      }
      progress(`round ${round} of ${ROUNDS}`);
    }
    const rows = [...samples].map(([way, taken]) => summarize(way, taken));
    return { name: 'relay', unit: 'GB/s and CPU-seconds per GB, medians', rows, limits: [] };
  } finally {
    for (const contestant of running) await contestant.stop();
    await fs.rm(folder, { recursive: true });
  }
}

async function measure({ address, asked, holder }: Way, target: string): Promise<Sample> {
  const askedBefore = asked.cpuSeconds();
  const holderBefore = holder?.cpuSeconds() ?? 0;
  const gigabytes = BLOB_BYTES / 1e9;
  const speed = gigabytes / (await download(address, target));
  return {
    speed,
    askedCpu: (asked.cpuSeconds() - askedBefore) / gigabytes,
    holderCpu: ((holder?.cpuSeconds() ?? 0) - holderBefore) / gigabytes,
  };
}

function summarize({ name, asked, holder }: Way, samples: readonly Sample[]) {
  return {
    way: name,
    'GB/s': rounded(median(samples.map(({ speed }) => speed))),
    'CPU-s/GB': rounded(median(samples.map(({ askedCpu }) => askedCpu))),
    'holder CPU-s/GB': holder === undefined ? '' : rounded(median(samples.map(({ holderCpu }) => holderCpu))),
    'RSS MB': Math.round(asked.rssMegabytes()),
  };
}
