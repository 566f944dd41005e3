import { randomInt } from 'node:crypto';
import { configInvalid } from '../common/config/mistake.ts';
import { flagName } from '../common/config/setting.ts';
import type { ConfigOf } from '../common/config/settings.ts';
import { createLogger } from '../common/log.ts';
import { createRandom } from '../common/random.ts';
import { createMirror, type MirrorOptions } from '../mirror/mirror.ts';
import type { ProgramDeps } from './program.ts';
import { readProxy } from './read-proxy.ts';
import { runComponent } from './run-component.ts';
import { readVersion } from './version.ts';

/** Runs the mirror until the signal aborts. */
export async function runMirror(
  { stdout, stderr, env }: Pick<ProgramDeps, 'stdout' | 'stderr' | 'env'>,
  config: ConfigOf<'mirror'>,
  signal: AbortSignal,
): Promise<number> {
  const log = createLogger({ write: stdout, now: () => new Date() }, { level: config.logLevel });
  const seed = randomInt(2 ** 32);
  const component = createMirror(
    { log, random: createRandom(seed) },
    {
      ...mirrorOptions(config),
      proxy: readProxy(env),
    },
  );
  log.info('Mirror starting', { seed });
  const listeners = {
    '--registry-address': config.registryAddress,
    '--peer-address': config.peerAddress,
    '--swarm-address': config.swarmAddress,
    '--health-address': config.healthAddress,
    ...(config.podAddress && { '--pod-address': config.podAddress }),
  };
  return runComponent({ stderr, log, component }, { command: 'mirror', listeners }, signal);
}

/** The three ways to name members become one; with none of them a node is on its own. */
function mirrorOptions(config: ConfigOf<'mirror'>): Omit<MirrorOptions, 'proxy'> {
  const { members, membersDns, membersFile, registries, logLevel: _, ...others } = config;
  const { podAddress, podTokenKeysFile, nodeName, ...rest } = others;
  return {
    ...rest,
    version: readVersion(),
    registries: registries ?? [],
    members: membership({ members, membersDns, membersFile }),
    pods: podServing({ podAddress, podTokenKeysFile, nodeName }),
  };
}

/** All three or none. Throws ERR_CONFIG_INVALID for any of them alone. */
function podServing(
  settings: Pick<ConfigOf<'mirror'>, 'podAddress' | 'podTokenKeysFile' | 'nodeName'>,
): MirrorOptions['pods'] {
  const { podAddress: address, podTokenKeysFile: tokenKeysFile, nodeName } = settings;
  if (address !== undefined && tokenKeysFile !== undefined && nodeName !== undefined) {
    return { address, tokenKeysFile, nodeName };
  }
  const missing = Object.entries(settings).filter(([, value]) => value === undefined);
  if (missing.length === Object.keys(settings).length) return undefined;
  throw configInvalid(
    missing.map(([name]) => ({
      name: flagName(name),
      source: 'not set',
      wrong: 'pods are served by three settings together',
      fix: 'set --pod-address, --pod-token-keys-file and --node-name, or none of them',
    })),
  );
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
