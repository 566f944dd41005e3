import type { ConfigOf } from '../common/config/settings.ts';
import { createLogger } from '../common/log.ts';
import { createAgent } from '../mirror/agent/agent.ts';
import type { ProgramDeps } from './program.ts';
import { readProxy } from './read-proxy.ts';
import { runComponent } from './run-component.ts';

/** Runs a pod's agent until the signal aborts. */
export async function runAgent(
  { stdout, stderr, env }: Pick<ProgramDeps, 'stdout' | 'stderr' | 'env'>,
  config: ConfigOf<'agent'>,
  signal: AbortSignal,
): Promise<number> {
  const log = createLogger({ write: stdout, now: () => new Date() }, { level: config.logLevel });
  const { registryAddress, healthAddress, defaultRegistry, answerTags, certsDir } = config;
  const component = createAgent(
    { log },
    {
      registryAddress,
      healthAddress,
      mirror: { host: config.mirrorHost, port: config.mirrorPort },
      tokenFile: config.podTokenFile,
      defaultRegistry,
      answerTags,
      certsDir,
      registries: config.registries ?? [],
      waitForMirrorMs: config.waitForMirror,
      proxy: readProxy(env),
    },
  );
  const listeners = { '--registry-address': registryAddress, '--health-address': healthAddress };
  return runComponent({ stderr, log, component }, { command: 'agent', listeners }, signal);
}
