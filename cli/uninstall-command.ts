import type { ConfigOf } from '../common/config/settings.ts';
import { MiroirError } from '../common/errors.ts';
import { createLogger } from '../common/log.ts';
import { takeAway } from '../webhook/gate/take-away.ts';
import { createKubeClient } from '../webhook/kube/client.ts';
import { EXIT_OK, type ProgramDeps } from './program.ts';

/** Something is left. */
const EXIT_LEFT = 1;
/** More than a leader needs to hear that it leads no more, and an apiserver to hear of a configuration. */
const QUIET_MS = 5_000;
const INTERVAL_MS = 1_000;

/** Takes off pods and nodes what the webhook wrote. Resolves to 1, and logs why, when something is left. */
export async function runUninstall(
  { stdout }: Pick<ProgramDeps, 'stdout'>,
  config: ConfigOf<'uninstall'>,
  signal: AbortSignal,
): Promise<number> {
  const log = createLogger({ write: stdout, now: () => new Date() }, { level: config.logLevel });
  const client = createKubeClient({ kubeconfig: config.kubeconfig, otherwise: 'kubectl' });
  try {
    const namespace = config.namespace ?? client.namespace;
    if (namespace === undefined)
      throw new MiroirError('ERR_KUBE_CONFIG_INVALID', 'the credentials tell no namespace: name it with --namespace');
    const { lease, webhookConfiguration: configuration, certificates = [], timeout } = config;
    const options = { namespace, lease, configuration, certificates, quietMs: QUIET_MS, intervalMs: INTERVAL_MS };
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeout)]);
    try {
      const taken = await takeAway({ client, log }, options, deadline);
      log.info('Nothing of the webhook is left on pods and nodes', { ...taken });
      return EXIT_OK;
    } catch (error) {
      if (!(error instanceof MiroirError) && !deadline.aborted) throw error;
      log.error('Not everything could be taken away: run it again', { error, timeoutMs: timeout });
      return EXIT_LEFT;
    }
  } finally {
    client.close();
  }
}
