/** The one place that reads the environment, handles signals and exits. */
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { createLogger } from '../common/log.ts';
import { EXIT_FAULT, runProgram } from './program.ts';

/** A mirror lets running transfers go on for 10 s, and closing takes moments. Kubernetes waits 30 s before it kills. */
const STOP_TIMEOUT_MS = 20_000;

const log = createLogger({ write: (line) => process.stdout.write(line), now: () => new Date() }, { level: 'info' });
const stopping = new AbortController();

// A reader of our output that went away is no reason to stop serving images.
process.stdout.on('error', () => {});
process.stderr.on('error', () => {});

for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error: unknown) => {
    log.error('Fault: this is a bug in miroir', { error, stack: error instanceof Error ? error.stack : undefined });
    process.exit(EXIT_FAULT);
  });
}

for (const name of ['SIGTERM', 'SIGINT'] as const) {
  process.on(name, () => {
    if (stopping.signal.aborted) process.exit(128 + constants.signals[name]); // The second time somebody means now.
    stopping.abort();
    setTimeout(() => {
      log.error('Did not stop in time', { timeoutMs: STOP_TIMEOUT_MS });
      process.exit(EXIT_FAULT);
    }, STOP_TIMEOUT_MS);
  });
}

async function main(): Promise<never> {
  const exitCode = await runProgram(
    {
      env: process.env,
      readFile: (path) => readFile(path, 'utf8'),
      stdout: (text) => process.stdout.write(text),
      stderr: (text) => process.stderr.write(text),
      columns: process.stdout.columns,
    },
    process.argv.slice(2),
    stopping.signal,
  );
  // A handle that somebody forgot must not keep a stopped program alive.
  process.exit(exitCode);
}

void main();
