/** Serving what this node holds, side by side with Debian's docker-registry and nginx's sendfile on the same file. */
import { execFile } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { atLeast, atMost, type BenchOptions, type BenchResult, median, rounded } from './bench.ts';
import { startDockerRegistry } from './contestants/docker-registry.ts';
import { download } from './contestants/download.ts';
import { startNginx } from './contestants/nginx.ts';
import { buildMirror, type Contestant } from './contestants/process.ts';

const BLOB_BYTES = 300 * 1024 * 1024;
/** Who serves and who reads share two cores in ways that last for seconds, and cost up to a third: a median of few rounds is of one of them. */
const ROUNDS = 40;
/** CPU is told in ticks of 10 ms: a round must take many. */
const DOWNLOADS_PER_ROUND = 3;
const CLIENTS = 4;
const WRK_SECONDS = 5;
const REPOSITORY = 'bench/app';

const SERVERS = ['miroir', 'docker-registry', 'nginx'] as const;
type Server = (typeof SERVERS)[number];

interface Samples {
  readonly gigabytesPerSecond: number[];
  readonly cpuSecondsPerGigabyte: number[];
}

export async function run({ progress, signal }: BenchOptions): Promise<BenchResult> {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'miroir-bench-'));
  const blobs = path.join(folder, 'blobs');
  await fs.mkdir(blobs);
  const running: Contestant[] = [];
  try {
    const blob = await putBlob(blobs, randomBytes(BLOB_BYTES));
    const manifest = await putBlob(blobs, Buffer.from(manifestOf(3000)));
    const mirror = await (await buildMirror(folder)).start(blobs);
    running.push(mirror);
    const registry = await startDockerRegistry(blobs, REPOSITORY);
    running.push(registry);
    const nginx = await startNginx(folder, { blobs, tls: false });
    running.push(nginx);
    const blobTarget = `/v2/${REPOSITORY}/blobs/${blob}`;
    const contestants = {
      miroir: { process: mirror, address: mirror.registry },
      'docker-registry': { process: registry, address: registry.registry },
      nginx: { process: nginx, address: nginx.address },
    };
    const samples = { miroir: emptySamples(), 'docker-registry': emptySamples(), nginx: emptySamples() };
    for (let round = 0; round <= ROUNDS && !signal.aborted; round += 1) {
      for (const name of SERVERS) {
        const sample = await measure(contestants[name].process, contestants[name].address, blobTarget);
        if (round > 0) add(samples[name], sample); // The first round only warms up.
      }
      progress(`round ${round} of ${ROUNDS}`);
    }
    mirror.peakRssMegabytes();
    await Promise.all(Array.from({ length: CLIENTS }, () => download(mirror.registry, blobTarget)));
    const peakMegabytes = mirror.peakRssMegabytes();
    const requestsPerSecond = await smallManifests(mirror.registry, `/v2/${REPOSITORY}/manifests/${manifest}`);
    return summarize(samples, peakMegabytes, requestsPerSecond);
  } finally {
    for (const contestant of running) await contestant.stop();
    await fs.rm(folder, { recursive: true });
  }
}

function summarize(
  samples: Readonly<Record<Server, Samples>>,
  peakMegabytes: number,
  requestsPerSecond: number,
): BenchResult {
  const speed = (name: Server) => median(samples[name].gigabytesPerSecond);
  const cpu = (name: Server) => median(samples[name].cpuSecondsPerGigabyte);
  const rows = SERVERS.map((name) => ({
    server: name,
    'GB/s': rounded(speed(name)),
    'CPU-s/GB': rounded(cpu(name)),
    ...(name === 'miroir' && {
      'manifests/s': Math.round(requestsPerSecond),
      'peak RSS MB, 4 clients': Math.round(peakMegabytes),
    }),
  }));
  return {
    name: 'serve',
    unit: 'GB/s and CPU-seconds per GB, medians',
    rows,
    limits: [
      atLeast("a hit's throughput, of docker-registry's", speed('miroir') / speed('docker-registry'), 0.9),
      atMost("a hit's CPU, of docker-registry's", cpu('miroir') / cpu('docker-registry'), 1.2),
      atLeast("a hit's throughput, of nginx's", speed('miroir') / speed('nginx'), 0.95),
      atMost("a hit's CPU, of nginx's", cpu('miroir') / cpu('nginx'), 1),
      atLeast('small manifests per second on one core', requestsPerSecond, 5000),
      atMost('MB of memory while serving 300 MiB to four clients', peakMegabytes, 128),
    ],
  };
}

async function measure(contestant: Contestant, address: string, target: string) {
  const cpuBefore = contestant.cpuSeconds();
  let seconds = 0;
  for (let count = 0; count < DOWNLOADS_PER_ROUND; count += 1) seconds += await download(address, target);
  const gigabytes = (BLOB_BYTES * DOWNLOADS_PER_ROUND) / 1e9;
  return { speed: gigabytes / seconds, cpu: (contestant.cpuSeconds() - cpuBefore) / gigabytes };
}

/** wrk takes the other core, as the mirror runs on one. */
async function smallManifests(address: string, target: string): Promise<number> {
  const args = ['-t1', '-c16', `-d${WRK_SECONDS}s`, `http://${address}${target}`];
  const { stdout } = await promisify(execFile)('wrk', args);
  if (/Non-2xx|Socket errors/.test(stdout)) throw new Error(`wrk met errors: ${stdout}`);
  return Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]);
}

function emptySamples(): Samples {
  return { gigabytesPerSecond: [], cpuSecondsPerGigabyte: [] };
}

function add(samples: Samples, { speed, cpu }: { speed: number; cpu: number }): void {
  samples.gigabytesPerSecond.push(speed);
  samples.cpuSecondsPerGigabyte.push(cpu);
}

async function putBlob(folder: string, bytes: Buffer): Promise<string> {
  const hex = createHash('sha256').update(bytes).digest('hex');
  await fs.writeFile(path.join(folder, hex), bytes);
  return `sha256:${hex}`;
}

/** A manifest of a usual size. */
function manifestOf(byteCount: number): string {
  return JSON.stringify({ schemaVersion: 2, layers: [], annotations: { filler: 'x'.repeat(byteCount) } });
}
