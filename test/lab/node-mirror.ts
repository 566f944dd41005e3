import path from 'node:path';
import type { InsideResponse } from './fetch-inside.ts';
import { LabError } from './lab-error.ts';
import { type Program, until } from './namespace.ts';

/** The command as it stands in this checkout; a node sees the machine's files. */
export const MIROIR = [process.execPath, path.join(import.meta.dirname, '..', '..', 'cli', 'main.ts')];
export const READY_URL = 'http://127.0.0.1:29984/readyz';
/** A mirror is ready when it has listed its node's content, within a second or two. */
const READY_MS = 60_000;

export interface MirrorDeps {
  readonly start: (name: string, argv: readonly string[]) => Program;
  readonly fetch: (url: string) => Promise<InsideResponse>;
}

export interface MirrorOptions {
  readonly advertiseAddress: string;
  readonly members: readonly string[];
  readonly swarmKeyFile: string;
  readonly extraArgs: readonly string[];
}

/** Starts `miroir mirror` in a node; resolves when it says that it is ready. Its log is `mirror.log` in the node's folder. */
export async function startMirror(deps: MirrorDeps, options: MirrorOptions, signal: AbortSignal): Promise<Program> {
  const { advertiseAddress } = options;
  const mirror = deps.start('mirror', [...MIROIR, 'mirror', ...mirrorFlags(options)]);
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(READY_MS)]);
  const complain = () => `the mirror of ${advertiseAddress} is not ready: ${mirror.logTail()}`;
  const isReady = (): Promise<boolean> => {
    if (!mirror.isRunning()) throw new LabError('ERR_LAB_PROGRAM_ENDED', complain());
    return deps.fetch(READY_URL).then(
      ({ status }) => status === 200,
      () => false,
    );
  };
  await until(isReady, deadline, complain);
  return mirror;
}

/** The lab's own flags, without those that the caller sets: a flag may be given once, and members named in one way. */
function mirrorFlags({ advertiseAddress, members, swarmKeyFile, extraArgs }: MirrorOptions): readonly string[] {
  const isSet = (prefix: string) => extraArgs.some((arg) => arg.startsWith(prefix));
  return [
    ...(isSet('--advertise-address') ? [] : ['--advertise-address', advertiseAddress]),
    ...(isSet('--members') ? [] : ['--members', members.join(',')]),
    ...(isSet('--swarm-key-file') ? [] : ['--swarm-key-file', swarmKeyFile]),
    ...extraArgs,
  ];
}
