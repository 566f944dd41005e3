import fs from 'node:fs';

/** A process that cannot be mistaken for another one: pids are reused, a pid together with its start time is not. */
export interface ProcessId {
  readonly pid: number;
  /** Field 22 of /proc/<pid>/stat: clock ticks since boot. */
  readonly startTime: string;
}

/** The identity of the process that has the pid now, or undefined when there is none. */
export function identifyProcess(pid: number): ProcessId | undefined {
  const stat = readProc(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The program's name stands in parentheses and may hold spaces and parentheses itself: count from the last one.
  const [state, ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const startTime = rest[18];
  if (startTime === undefined || state === 'Z') return undefined;
  return { pid, startTime };
}

export function isAlive({ pid, startTime }: ProcessId): boolean {
  return identifyProcess(pid)?.startTime === startTime;
}

/** Sends the signal if the process is still the same one. Answers whether it was. */
export function signalProcess(process_: ProcessId, signal: NodeJS.Signals): boolean {
  if (!isAlive(process_)) return false;
  try {
    process.kill(process_.pid, signal);
    return true;
  } catch {
    return false; // It ended in between.
  }
}

export function childrenOf(pid: number): number[] {
  const text = readProc(`/proc/${pid}/task/${pid}/children`) ?? '';
  return text.trim().split(' ').filter(Boolean).map(Number);
}

/** Every process of the pid namespace of `holder`, and what descends from them (containers have namespaces of their own). */
export function membersOf(holder: ProcessId): number[] {
  if (!isAlive(holder)) return [];
  const namespace = pidNamespace(holder.pid);
  const inside = fs
    .readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pidNamespace(pid) === namespace);
  const members = new Set(inside);
  for (const pid of members) for (const child of childrenOf(pid)) members.add(child); // A Set is walked as it grows.
  return [...members];
}

function pidNamespace(pid: number): string | undefined {
  try {
    return fs.readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined;
  }
}

function readProc(file: string): string | undefined {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return undefined; // The process is gone.
  }
}
