import { randomInt } from 'node:crypto';
import type { ConfigOf } from '../common/config/settings.ts';
import { createLogger } from '../common/log.ts';
import { createRandom } from '../common/random.ts';
import { createMirror, type MirrorOptions } from '../mirror/mirror.ts';
import type { ProgramDeps } from './program.ts';
import { runComponent } from './run-component.ts';
import { readVersion } from './version.ts';

/** Runs the mirror until the signal aborts. */
export async function runMirror(
  { stdout, stderr }: Pick<ProgramDeps, 'stdout' | 'stderr'>,
  config: ConfigOf<'mirror'>,
  signal: AbortSignal,
): Promise<number> {
  const log = createLogger({ write: stdout, now: () => new Date() }, { level: config.logLevel });
  const seed = randomInt(2 ** 32);
  const component = createMirror({ log, random: createRandom(seed) }, mirrorOptions(config));
  log.info('Mirror starting', { seed });
  const listeners = {
    '--registry-address': config.registryAddress,
    '--peer-address': config.peerAddress,
    '--swarm-address': config.swarmAddress,
    '--health-address': config.healthAddress,
  };
  return runComponent({ stderr, log, component }, { command: 'mirror', listeners }, signal);
}

/** The three ways to name members become one; with none of them a node is on its own. */
function mirrorOptions(config: ConfigOf<'mirror'>): MirrorOptions {
  const { members, membersDns, membersFile, registries, logLevel: _, ...rest } = config;
  return {
    ...rest,
    version: readVersion(),
    registries: registries ?? [],
    members: membership({ members, membersDns, membersFile }),
  };
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
