import { randomBytes } from 'node:crypto';
import { hasCode } from '../../common/errors.ts';
import { type Component, createLoop } from '../../common/lifecycle.ts';
import type { Logger } from '../../common/log.ts';
import { createBackoff } from './backoff.ts';
import type { KubeClient } from './client.ts';

export interface SwarmKeySecretDeps {
  readonly client: Pick<KubeClient, 'call'>;
  readonly log: Logger;
  /** 0 to 1. */
  readonly random: () => number;
}

export interface SwarmKeySecretOptions {
  readonly namespace: string;
  readonly name: string;
}

/** As `parseSwarmKeys` reads it. */
const KEY_BYTES = 32;
const KEY_FILE = 'swarm.key';
/** Mirrors wait for the Secret, and an apiserver that is away is asked for long. */
const BACKOFF = { firstMs: 200, maxMs: 10_000 };

/**
 * Makes the key of the swarm once, by creating its Secret, which the apiserver lets one replica do. It is never read, and never written
 * again: one that was deleted while mirrors run is theirs still, and a new one would part those that start from those that run.
 */
export function createSwarmKeySecret(deps: SwarmKeySecretDeps, { namespace, name }: SwarmKeySecretOptions): Component {
  const { client, log, random } = deps;

  async function create(signal: AbortSignal): Promise<void> {
    const labels = { 'app.kubernetes.io/name': 'miroir', 'app.kubernetes.io/managed-by': 'miroir' };
    const stringData = { [KEY_FILE]: `${randomBytes(KEY_BYTES).toString('hex')}\n` };
    const body = { apiVersion: 'v1', kind: 'Secret', metadata: { name, labels }, type: 'Opaque', stringData };
    const path = `/api/v1/namespaces/${namespace}/secrets`;
    try {
      await client.call({ method: 'POST', path, body }, signal);
      log.info('The key of the swarm was made', { secret: name });
    } catch (error) {
      if (!hasCode(error, 'ERR_KUBE_CONFLICT')) throw error;
      log.debug('The key of the swarm is there', { secret: name });
    }
  }

  async function run(signal: AbortSignal): Promise<void> {
    const backoff = createBackoff(random, BACKOFF);
    while (!signal.aborted) {
      try {
        await create(signal);
        return;
      } catch (error) {
        if (signal.aborted) return;
        log.warn('The key of the swarm could not be made: mirrors that have none wait for it', { secret: name, error });
      }
      await backoff.wait(signal).catch(() => {});
    }
  }

  return createLoop(run);
}
