import fs from 'node:fs';
import type { Lab } from '../lab/lab.ts';
import { membersOf } from '../lab/process-id.ts';

/** Of one process of Miroir's image, in megabytes. */
export interface Memory {
  readonly node: string;
  readonly command: 'mirror' | 'webhook';
  readonly resident: number;
  /** Without the pages of files, as Node's program, that the kernel can drop and that processes share. */
  readonly own: number;
  /** The most that was resident since its start. */
  readonly peak: number;
}

/** What /proc says of every mirror and webhook that runs in the cluster. */
export function measureMemory({ nodes }: Lab): readonly Memory[] {
  return nodes.flatMap((node) =>
    membersOf(node.holder()).flatMap((pid) => {
      const command = commandOf(pid);
      return command === undefined ? [] : [{ node: node.name, command, ...readStatus(pid) }];
    }),
  );
}

/** One line: `mirror 88, 87, 90 MB (own 36, 35, 37; at most 92, 92, 93); webhook ...`. */
export function formatMemory(all: readonly Memory[]): string {
  const list = (numbers: readonly number[]) => numbers.map(Math.round).join(', ');
  const lines = (['mirror', 'webhook'] as const).map((command) => {
    const some = all.filter((memory) => memory.command === command);
    const [resident, own, peak] = (['resident', 'own', 'peak'] as const).map((key) => list(some.map((m) => m[key])));
    return `${command} ${resident} MB (own ${own}; at most ${peak})`;
  });
  return lines.join('; ');
}

/** `node --flags /usr/local/bin/miroir mirror --more`; a pod that only tests, or cleans up, has another word there. */
function commandOf(pid: number): Memory['command'] | undefined {
  const words = readProc(pid, 'cmdline').split('\0');
  const word = words[words.indexOf('/usr/local/bin/miroir') + 1];
  return word === 'mirror' || word === 'webhook' ? word : undefined;
}

function readStatus(pid: number): Pick<Memory, 'resident' | 'own' | 'peak'> {
  const status = readProc(pid, 'status');
  const megabytes = (key: string) => (Number(new RegExp(`^${key}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024) / 1e6;
  return { resident: megabytes('VmRSS'), own: megabytes('RssAnon'), peak: megabytes('VmHWM') };
}

function readProc(pid: number, file: string): string {
  try {
    return fs.readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return ''; // It ended.
  }
}
