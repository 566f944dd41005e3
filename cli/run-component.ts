import { hasCode, MiroirError } from '../common/errors.ts';
import type { HostPort } from '../common/host-port.ts';
import type { Component } from '../common/lifecycle.ts';
import type { Logger } from '../common/log.ts';
import { EXIT_MISTAKE, EXIT_OK, type ProgramDeps } from './program.ts';
import { explainError } from './start-error.ts';

export interface RunDeps extends Pick<ProgramDeps, 'stderr'> {
  readonly log: Logger;
  readonly component: Component;
}

export interface RunOptions {
  readonly command: 'mirror' | 'webhook' | 'agent';
  /** Where it listens, by flag. */
  readonly listeners: Readonly<Record<string, HostPort>>;
}

/** Starts what a command is there for, lets it run until the signal aborts, and stops it. Resolves to the exit code. */
export async function runComponent(
  { stderr, log, component }: RunDeps,
  { command, listeners }: RunOptions,
  signal: AbortSignal,
): Promise<number> {
  try {
    await component.start(signal);
  } catch (error) {
    if (signal.aborted && hasCode(error, 'ERR_ABORTED')) return EXIT_OK;
    if (!(error instanceof MiroirError)) throw error;
    stderr(`miroir ${command}: ${explainError(error, listeners)}\n`);
    return EXIT_MISTAKE;
  }
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  log.info('Stopping');
  await component.stop();
  log.info('Stopped');
  return EXIT_OK;
}
