import { randomInt } from 'node:crypto';
import type { ConfigOf } from '../common/config/settings.ts';
import { hasCode, MiroirError } from '../common/errors.ts';
import { createLogger } from '../common/log.ts';
import { createRandom } from '../common/random.ts';
import { createMirror, type MirrorOptions } from '../mirror/mirror.ts';
import { EXIT_MISTAKE, EXIT_OK, type ProgramDeps } from './program.ts';
import { explainError } from './start-error.ts';

/** Runs the mirror until the signal aborts. */
export async function runMirror(
  deps: Pick<ProgramDeps, 'stdout' | 'stderr'>,
  config: ConfigOf<'mirror'>,
  signal: AbortSignal,
): Promise<number> {
  const log = createLogger({ write: deps.stdout, now: () => new Date() }, { level: config.logLevel });
  const seed = randomInt(2 ** 32);
  const mirror = createMirror({ log, random: createRandom(seed) }, mirrorOptions(config));
  log.info('Mirror starting', { seed });
  try {
    await mirror.start(signal);
  } catch (error) {
    if (signal.aborted && hasCode(error, 'ERR_ABORTED')) return EXIT_OK;
    if (!(error instanceof MiroirError)) throw error;
    deps.stderr(`miroir mirror: ${explainError(error, listeners(config))}\n`);
    return EXIT_MISTAKE;
  }
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  log.info('Mirror stopping');
  await mirror.stop();
  log.info('Mirror stopped');
  return EXIT_OK;
}

function listeners(config: ConfigOf<'mirror'>) {
  return new Map([
    ['--registry-address', config.registryAddress],
    ['--peer-address', config.peerAddress],
    ['--swarm-address', config.swarmAddress],
    ['--health-address', config.healthAddress],
  ]);
}

/** The three ways to name members become one; with none of them a node is on its own. */
function mirrorOptions(config: ConfigOf<'mirror'>): MirrorOptions {
  const { members, membersDns, membersFile, registries, logLevel: _, ...rest } = config;
  return { ...rest, registries: registries ?? [], members: membership({ members, membersDns, membersFile }) };
}

function membership({
  members,
  membersDns,
  membersFile,
}: Pick<ConfigOf<'mirror'>, 'members' | 'membersDns' | 'membersFile'>): MirrorOptions['members'] {
  if (membersDns !== undefined) return { kind: 'dns', name: membersDns };
  if (membersFile !== undefined) return { kind: 'file', path: membersFile };
  return { kind: 'static', hosts: members ?? [] };
}
