import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { LabError } from './lab-error.ts';
import { childrenOf, identifyProcess, isAlive, type ProcessId, signalProcess } from './process-id.ts';

/** What a program gets to clean up after itself before it is killed. A mirror lets transfers go on for 10 s. */
const STOP_GRACE_MS = 20_000;
/** Of a failed command's or program's output: enough for its last error. */
const OUTPUT_TAIL_CHARS = 4000;

export interface Output {
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * The command line that runs `argv` in all the namespaces that `holder` holds: network, mounts, host name and pids. The
 * program becomes the only child of what is spawned: a process cannot enter a pid namespace, only its children can. The
 * parent is a shell, not nsenter itself, because nsenter stops when its child is stopped, and then nobody reaps the child.
 */
export function entering(holder: ProcessId, argv: readonly string[]): string[] {
  const namespaces = ['--net', '--mount', '--uts', '--pid'];
  return [
    'nsenter',
    '--no-fork',
    '-t',
    String(holder.pid),
    ...namespaces,
    '--',
    'sh',
    '-c',
    '"$@"; exit $?',
    'sh',
    ...argv,
  ];
}

/** The same for its network alone: files and pids are the caller's. */
export function enteringNetwork(holder: ProcessId, argv: readonly string[]): string[] {
  return ['nsenter', '-t', String(holder.pid), '--net', '--', ...argv];
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  readonly input?: string;
  /** Called when the command wrote something: its input ends when this resolves, and not before. */
  readonly ready?: () => Promise<void>;
  /** What a failure calls the command, where its own words would not tell. */
  readonly title?: string;
}

/** Runs a command to its end. Throws ERR_LAB_COMMAND_FAILED with what it wrote when it does not exit with 0. */
export async function run(argv: readonly string[], options: RunOptions, signal: AbortSignal): Promise<Output> {
  const child = spawnCommand(argv, { signal, env: { ...process.env, ...options.env }, stdio: 'pipe' });
  const output = { stdout: '', stderr: '' };
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text;
  });
  child.stdin?.on('error', () => {}); // A command that does not read its input is none of our business.
  const { ready, input = '' } = options;
  if (ready === undefined) child.stdin?.end(input);
  else child.stdout?.once('data', () => void ready().then(() => child.stdin?.end(input)));
  const [code, killedBy] = (await once(child, 'close')) as [number | null, string | null];
  if (code !== 0) {
    const how = code === null ? `was killed by ${killedBy}` : `exited with ${code}`;
    throw new LabError(
      'ERR_LAB_COMMAND_FAILED',
      `${options.title ?? argv.join(' ')} ${how}: ${tail(output.stderr || output.stdout)}`,
    );
  }
  return output;
}

export interface NewNamespacesOptions {
  /** A command that makes new namespaces, sets them up, writes a line when it is done, and stays. */
  readonly argv: readonly string[];
  readonly logFile: string;
  /** How many processes stand between what is spawned and the holder (a shell, unshare). */
  readonly depth: number;
  /** Leave its standard input open to this process, so that it notices our end. */
  readonly stdin: 'pipe' | 'ignore';
}

export interface HeldNamespaces {
  readonly holder: ProcessId;
  readonly child: ChildProcess;
}

/** Starts a holder of namespaces; resolves when it has written its first line. */
export async function holdNamespaces(options: NewNamespacesOptions, signal: AbortSignal): Promise<HeldNamespaces> {
  const log = fs.openSync(options.logFile, 'a');
  const child = spawnCommand(options.argv, { detached: true, stdio: [options.stdin, 'pipe', log] });
  fs.closeSync(log);
  const exited = once(child, 'exit').then(() => {
    throw new LabError('ERR_LAB_PROGRAM_ENDED', `${options.argv.join(' ')} ended: ${tailOfFile(options.logFile)}`);
  });
  exited.catch(() => {}); // After the first line it is whoever uses the holder that notices.
  try {
    await Promise.race([once(child.stdout as NodeJS.ReadableStream, 'data', { signal }), exited]);
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  child.stdout?.destroy();
  child.unref();
  let pid = child.pid as number;
  for (let level = 0; level < options.depth; level++) pid = childrenOf(pid)[0] ?? 0;
  const holder = identifyProcess(pid);
  if (!holder) throw new LabError('ERR_LAB_PROGRAM_ENDED', `${options.argv.join(' ')} ended at once`);
  return { holder, child };
}

/** A program that runs in a holder's namespaces until it is stopped. */
export interface Program {
  /** The program itself, as this process sees it; undefined once it has ended. */
  pid(): number | undefined;
  isRunning(): boolean;
  /** What it exited with, 128 and more for a signal; undefined while it runs. */
  exitCode(): number | undefined;
  /** What it wrote last. */
  logTail(): string;
  readonly exited: Promise<void>;
  /** Sends the signal, SIGTERM unless told, and resolves when the program is gone; one that stays is killed after 20 s. */
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export interface ProgramOptions {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly logFile: string;
}

export function startProgram(holder: ProcessId, options: ProgramOptions): Program {
  const log = fs.openSync(options.logFile, 'a');
  const child = spawnCommand(entering(holder, options.argv), {
    detached: true, // Ctrl-C is for the lab, which stops its programs in order.
    env: { ...process.env, ...options.env },
    stdio: ['ignore', log, log],
  });
  fs.closeSync(log);
  child.unref();
  const exited = once(child, 'exit').then(() => {});
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  const pid = () => (isRunning() ? childrenOf(child.pid as number)[0] : undefined); // The shell of `entering` has one child.
  return {
    pid,
    isRunning,
    exitCode: () => child.exitCode ?? undefined,
    exited,
    logTail: () => tailOfFile(options.logFile),
    stop: async (signal = 'SIGTERM') => {
      const inner = pid();
      const target = inner === undefined ? undefined : identifyProcess(inner);
      if (!isRunning() || !target) return;
      child.ref();
      signalProcess(target, signal);
      const late = setTimeout(() => signalProcess(target, 'SIGKILL'), STOP_GRACE_MS);
      await exited;
      clearTimeout(late);
    },
  };
}

/** Kills a holder, and with it, by the kernel's doing, everything in its pid namespace. Resolves when it is gone. */
export async function killHolder(holder: ProcessId): Promise<void> {
  signalProcess(holder, 'SIGKILL');
  await until(() => !isAlive(holder));
}

/**
 * Waits for something that only looking can tell: a socket, a process that is not our child. When the signal aborts it
 * throws what `complain` says, or the signal's reason.
 */
export async function until(
  isDone: () => boolean | Promise<boolean>,
  signal?: AbortSignal,
  complain?: () => string,
): Promise<void> {
  while (!(await isDone())) {
    if (signal?.aborted && complain) throw new LabError('ERR_LAB_PROGRAM_ENDED', complain(), { cause: signal.reason });
    signal?.throwIfAborted();
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

const POLL_MS = 20;

export function tailOfFile(file: string): string {
  return fs.existsSync(file) ? tail(fs.readFileSync(file, 'utf8')) : '(nothing written)';
}

function tail(text: string): string {
  return text.trim().slice(-OUTPUT_TAIL_CHARS);
}

function spawnCommand([program, ...args]: readonly string[], options: SpawnOptions): ChildProcess {
  return spawn(program as string, args, options);
}
