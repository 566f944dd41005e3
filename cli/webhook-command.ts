import { randomInt, randomUUID } from 'node:crypto';
import os from 'node:os';
import { ROTATION_TIMES } from '../certs/rotation.ts';
import { configInvalid } from '../common/config/mistake.ts';
import { flagName } from '../common/config/setting.ts';
import type { ConfigOf } from '../common/config/settings.ts';
import { createLogger } from '../common/log.ts';
import { createRandom } from '../common/random.ts';
import { createWebhook, type WebhookOptions } from '../webhook/webhook.ts';
import type { ProgramDeps } from './program.ts';
import { runComponent } from './run-component.ts';
import { readVersion } from './version.ts';

/** How soon a replica sees what another one did to the authorities. */
const CERTIFICATES_INTERVAL_MS = 10_000;

/** As Kubernetes' own components have them: who leads and dies is replaced within 15 s. */
const ELECTOR_TIMES = { leaseMs: 15_000, deadlineMs: 10_000, renewMs: 2_000 };

/** Runs the webhook until the signal aborts. */
export async function runWebhook(
  { stdout, stderr }: Pick<ProgramDeps, 'stdout' | 'stderr'>,
  config: ConfigOf<'webhook'>,
  signal: AbortSignal,
): Promise<number> {
  const log = createLogger({ write: stdout, now: () => new Date() }, { level: config.logLevel });
  const seed = randomInt(2 ** 32);
  const component = createWebhook({ log, random: createRandom(seed) }, webhookOptions(config));
  log.info('Webhook starting', { seed });
  const listeners = { '--webhook-address': config.webhookAddress, '--health-address': config.healthAddress };
  return runComponent({ stderr, log, component }, { command: 'webhook', listeners }, signal);
}

/** Throws ERR_CONFIG_INVALID when one of the two files is named and the other is not. */
function webhookOptions(config: ConfigOf<'webhook'>): WebhookOptions {
  const { tlsCertificateFile: certificateFile, tlsKeyFile: keyFile } = config;
  const { webhookService: service, webhookConfiguration: configuration, authoritySecret: secret } = config;
  if ((certificateFile === undefined) !== (keyFile === undefined)) {
    const name = flagName(keyFile === undefined ? 'tlsKeyFile' : 'tlsCertificateFile');
    throw configInvalid([
      { name, source: 'not set', wrong: 'one of the two TLS files is named alone', fix: 'name both, or none' },
    ]);
  }
  const files = certificateFile !== undefined && keyFile !== undefined && { certificateFile, keyFile };
  return {
    version: readVersion(),
    webhookAddress: config.webhookAddress,
    healthAddress: config.healthAddress,
    kubeconfig: config.kubeconfig,
    namespace: config.namespace,
    swarmKeySecret: config.swarmKeySecret,
    podTokenKeys: config.podTokenKeys,
    sidecar:
      config.sidecarImage === undefined
        ? undefined
        : {
            image: config.sidecarImage,
            mirrorPort: config.sidecarMirrorPort,
            resources: config.sidecarResources,
            flags: config.sidecarFlags ?? [],
          },
    gate: {
      lease: config.lease,
      identity: `${os.hostname()}_${randomUUID()}`, // A pod that restarts keeps its host name.
      electorTimes: ELECTOR_TIMES,
      mirrorSelector: config.mirrorSelector,
      mirrorHealthPort: config.mirrorHealthPort,
      verdictIntervalMs: config.verdictInterval,
      forgetMs: config.forgetAfter,
      incompatibleShareMax: config.incompatibleMax,
      waitTimeoutMs: config.waitTimeout,
    },
    certificates: files
      ? { kind: 'files', ...files }
      : { kind: 'own', service, configuration, secret, times: ROTATION_TIMES, intervalMs: CERTIFICATES_INTERVAL_MS },
  };
}
