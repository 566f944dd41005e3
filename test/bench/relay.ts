/** A blob through a peer, side by side with the same blob through an nginx that passes on what another one serves. */
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { atLeast, atMost, type BenchOptions, type BenchResult, median, rounded } from './bench.ts';
import { download } from './contestants/download.ts';
import { startNginx } from './contestants/nginx.ts';
import { buildMirror, type Connections, type Contestant } from './contestants/process.ts';

const BLOB_BYTES = 300 * 1024 * 1024;
const ROUNDS = 9;
/** CPU is told in ticks of 10 ms: a round must take many. */
const DOWNLOADS_PER_ROUND = 4;
const REPOSITORY = 'bench/app';

interface Way {
  readonly server: 'miroir' | 'nginx';
  readonly encryption: 'on' | 'off';
  readonly connections: Connections;
  readonly address: string;
  /** Who works for it: the one that the client asks, and the holder behind it. */
  readonly asked: Contestant;
  readonly holder: Contestant;
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
      const tls = encryption === 'on';
      const upstream = keep(await startNginx(folder, { blobs, tls }));
      for (const connections of ['new', 'kept'] as const) {
        const asked = keep(await program.start(nothing, holder.peers, encryption, connections));
        ways.push({ server: 'miroir', encryption, connections, address: asked.registry, asked, holder });
        const hop = keep(await startNginx(folder, { upstream, tls, connections }));
        ways.push({ server: 'nginx', encryption, connections, address: hop.address, asked: hop, holder: upstream });
      }
    }
    const samples = new Map<Way, Sample[]>(ways.map((way) => [way, []]));
    const target = `/v2/${REPOSITORY}/blobs/sha256:${hex}`;
    for (let round = 0; round <= ROUNDS && !signal.aborted; round += 1) {
      for (const way of ways) {
        const sample = await measure(way, target);
        if (round > 0) samples.get(way)?.push(sample); // The first round only warms up.
      }
      progress(`round ${round} of ${ROUNDS}`);
    }
    return summarize(samples);
  } finally {
    for (const contestant of running) await contestant.stop();
    await fs.rm(folder, { recursive: true });
  }
}

async function measure({ address, asked, holder }: Way, target: string): Promise<Sample> {
  const askedBefore = asked.cpuSeconds();
  const holderBefore = holder.cpuSeconds();
  const gigabytes = (BLOB_BYTES * DOWNLOADS_PER_ROUND) / 1e9;
  let seconds = 0;
  for (let count = 0; count < DOWNLOADS_PER_ROUND; count += 1) seconds += await download(address, target);
  return {
    speed: gigabytes / seconds,
    askedCpu: (asked.cpuSeconds() - askedBefore) / gigabytes,
    holderCpu: (holder.cpuSeconds() - holderBefore) / gigabytes,
  };
}

function summarize(samples: ReadonlyMap<Way, readonly Sample[]>): BenchResult {
  const medians = [...samples].map(([way, taken]) => ({
    way,
    speed: median(taken.map(({ speed }) => speed)),
    askedCpu: median(taken.map(({ askedCpu }) => askedCpu)),
    holderCpu: median(taken.map(({ holderCpu }) => holderCpu)),
  }));
  const rows = medians.map(({ way, speed, askedCpu, holderCpu }) => ({
    relay: `${way.server}, encryption ${way.encryption}, ${way.connections} connections`,
    'GB/s': rounded(speed),
    'CPU-s/GB': rounded(askedCpu),
    'holder CPU-s/GB': rounded(holderCpu),
    'RSS MB': Math.round(way.asked.rssMegabytes()),
  }));
  const ratio = (encryption: Way['encryption'], connections: Connections, figure: (sample: Sample) => number) => {
    const of = (server: Way['server']) => {
      const sample = medians.find(
        ({ way }) => way.server === server && way.encryption === encryption && way.connections === connections,
      );
      return sample === undefined ? Number.NaN : figure(sample);
    };
    return of('miroir') / of('nginx');
  };
  const speed = (sample: Sample) => sample.speed;
  const cpu = (sample: Sample) => sample.askedCpu;
  const cpuOfBoth = (sample: Sample) => sample.askedCpu + sample.holderCpu;
  return {
    name: 'relay',
    unit: 'GB/s and CPU-seconds per GB, medians',
    rows,
    limits: [
      atLeast("an encrypted relay's throughput, of nginx's, new connections", ratio('on', 'new', speed), 1),
      atMost("an encrypted relay's CPU, of nginx's, new connections", ratio('on', 'new', cpu), 0.9),
      atLeast("an encrypted relay's throughput, of nginx's, kept connections", ratio('on', 'kept', speed), 1),
      atMost("an encrypted relay's CPU, of nginx's, kept connections", ratio('on', 'kept', cpu), 0.9),
      atLeast("a plain relay's throughput, of nginx's, new connections", ratio('off', 'new', speed), 1.3),
      atMost("a plain relay's CPU, of nginx's, new connections", ratio('off', 'new', cpu), 0.6),
      // What nginx's takes over a kept one depends on how much that one brought before: see ADR 0023.
      atMost(
        "a plain relay's and its holder's CPU, of nginx's, kept connections",
        ratio('off', 'kept', cpuOfBoth),
        1.1,
      ),
    ],
  };
}
