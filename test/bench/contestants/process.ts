import { type ChildProcess, spawn } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';

/** The unit of /proc/PID/stat on Linux, whatever the kernel's own tick is (USER_HZ). */
const TICKS_PER_SECOND = 100;

export interface ProcessMemory {
  /** The most memory it had since the last call. */
  peakRssMegabytes(): number;
  rssMegabytes(): number;
}

export interface Contestant extends ProcessMemory {
  cpuSeconds(): number;
  stop(): Promise<void>;
}

export interface MirrorContestant extends Contestant {
  readonly registry: string;
  readonly peers: string;
}

export function processMemory(pid: () => number): ProcessMemory {
  const status = (field: string) => {
    const text = fs.readFileSync(`/proc/${pid()}/status`, 'utf8');
    return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) / 1024;
  };
  return {
    peakRssMegabytes: () => {
      const peak = status('VmHWM');
      fs.writeFileSync(`/proc/${pid()}/clear_refs`, '5'); // proc(5): resets VmHWM.
      return peak;
    },
    rssMegabytes: () => status('VmRSS'),
  };
}

export function cpuSeconds(pid: number): number {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

export function contestant(child: ChildProcess): Contestant {
  return {
    ...processMemory(() => child.pid as number),
    cpuSeconds: () => cpuSeconds(child.pid as number),
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const closed = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGKILL');
      await closed;
    },
  };
}

/** Whether the connection to the one behind is kept for the next request, or each request opens one. */
export type Connections = 'kept' | 'new';

export interface MirrorProgram {
  /** A mirror that serves `blobs` and asks `peer` for the rest. */
  start(blobs: string, peer?: string, encryption?: 'on' | 'off', connections?: Connections): Promise<MirrorContestant>;
}

/** Bundles the mirror into `folder`, as production runs it: stripping types while it runs costs Node 40 MB. */
export async function buildMirror(folder: string): Promise<MirrorProgram> {
  const outfile = path.join(folder, 'mirror.mjs');
  await build({
    entryPoints: [path.join(import.meta.dirname, 'mirror.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    // CommonJS packages in the bundle call require for Node's own modules.
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
  });
  return {
    start: async (blobs, peer = '', encryption = 'on', connections = 'kept') => {
      const child = spawn(process.execPath, [outfile, blobs, peer, encryption, connections], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const line = await firstLine(child);
      return { ...contestant(child), ...(JSON.parse(line) as { registry: string; peers: string }) };
    },
  };
}

function firstLine(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.stdout?.on('data', (part: Buffer) => {
      text += part.toString();
      if (text.includes('\n')) resolve(text.slice(0, text.indexOf('\n')));
    });
    child.once('error', reject);
    child.once('close', () => reject(new Error('the contestant ended before it listened')));
  });
}
