import type { ConfigOf } from '../common/config/settings.ts';
import { createLogger } from '../common/log.ts';
import { createWebhook } from '../webhook/webhook.ts';
import type { ProgramDeps } from './program.ts';
import { runComponent } from './run-component.ts';
import { readVersion } from './version.ts';

/** Runs the webhook until the signal aborts. */
export async function runWebhook(
  { stdout, stderr }: Pick<ProgramDeps, 'stdout' | 'stderr'>,
  config: ConfigOf<'webhook'>,
  signal: AbortSignal,
): Promise<number> {
  const { logLevel, ...options } = config;
  const log = createLogger({ write: stdout, now: () => new Date() }, { level: logLevel });
  const component = createWebhook({ log }, { ...options, version: readVersion() });
  const listeners = { '--webhook-address': config.webhookAddress, '--health-address': config.healthAddress };
  return runComponent({ stderr, log, component }, { command: 'webhook', listeners }, signal);
}
