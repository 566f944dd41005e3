import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { type Program, tailOfFile } from '../namespace.ts';

/** What a program gets to clean up after itself before it is killed. */
const STOP_GRACE_MS = 10_000;

/**
 * Starts a program of this machine, outside of all nodes. The kernel kills it when this process ends, however it ends.
 * Its output is added to the file.
 */
export function startChildProgram(argv: readonly string[], logFile: string): Program {
  const log = fs.openSync(logFile, 'a');
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...argv], {
    detached: true, // Ctrl-C is for whoever started it, who stops its programs in order.
    stdio: ['ignore', log, log],
  });
  fs.closeSync(log);
  child.unref();
  const exited = once(child, 'exit').then(() => {});
  const isRunning = () => child.exitCode === null && child.signalCode === null;
  return {
    pid: () => (isRunning() ? child.pid : undefined),
    isRunning,
    exitCode: () => child.exitCode ?? undefined,
    exited,
    logTail: () => tailOfFile(logFile),
    stop: async (signal = 'SIGTERM') => {
      if (!isRunning()) return;
      child.ref();
      child.kill('SIGCONT'); // A frozen program does not hear the rest.
      child.kill(signal);
      const late = setTimeout(() => child.kill('SIGKILL'), STOP_GRACE_MS);
      await exited;
      clearTimeout(late);
    },
  };
}
