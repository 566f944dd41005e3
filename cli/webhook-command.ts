import type { ConfigOf } from '../common/config/settings.ts';
import { hasCode, MiroirError } from '../common/errors.ts';
import { createLogger } from '../common/log.ts';
import { createWebhook } from '../webhook/webhook.ts';
import { EXIT_MISTAKE, EXIT_OK, type ProgramDeps } from './program.ts';
import { explainError } from './start-error.ts';
import { readVersion } from './version.ts';

/** Runs the webhook until the signal aborts. */
export async function runWebhook(
  deps: Pick<ProgramDeps, 'stdout' | 'stderr'>,
  config: ConfigOf<'webhook'>,
  signal: AbortSignal,
): Promise<number> {
  const { logLevel, ...options } = config;
  const log = createLogger({ write: deps.stdout, now: () => new Date() }, { level: logLevel });
  const webhook = createWebhook({ log }, { ...options, version: readVersion() });
  try {
    await webhook.start(signal);
  } catch (error) {
    if (signal.aborted && hasCode(error, 'ERR_ABORTED')) return EXIT_OK;
    if (!(error instanceof MiroirError)) throw error;
    const listeners = new Map([
      ['--webhook-address', config.webhookAddress],
      ['--health-address', config.healthAddress],
    ]);
    deps.stderr(`miroir webhook: ${explainError(error, listeners)}\n`);
    return EXIT_MISTAKE;
  }
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  await webhook.stop();
  return EXIT_OK;
}
