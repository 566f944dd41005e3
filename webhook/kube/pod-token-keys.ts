import { setTimeout as delay } from 'node:timers/promises';
import { type Component, createLoop } from '../../common/lifecycle.ts';
import type { Logger } from '../../common/log.ts';
import { createBackoff } from './backoff.ts';
import type { KubeClient } from './client.ts';
import type { KubeObject } from './reflector.ts';

export interface PodTokenKeysDeps {
  readonly client: Pick<KubeClient, 'call'>;
  readonly log: Logger;
  /** 0 to 1. */
  readonly random: () => number;
}

export interface PodTokenKeysOptions {
  readonly namespace: string;
  /** Of the ConfigMap, which is there. */
  readonly name: string;
  /** Between two looks. */
  readonly intervalMs?: number;
}

interface ConfigMap extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

const FILE = 'keys.json';
/** A cluster that changes its key signs with the new one when all of its apiservers know it, and tokens live for an hour. */
const INTERVAL_MS = 60_000;
const BACKOFF = { firstMs: 200, maxMs: 10_000 };

/**
 * Keeps the issuer and the public keys of the cluster's tokens in a ConfigMap, which mirrors mount: they have no token of Kubernetes to ask
 * with. Each replica does it, since all write the same, and only what is not there.
 */
export function createPodTokenKeys(deps: PodTokenKeysDeps, options: PodTokenKeysOptions): Component {
  const { client, log, random } = deps;
  const { namespace, name, intervalMs = INTERVAL_MS } = options;
  const path = `/api/v1/namespaces/${namespace}/configmaps/${name}`;

  async function look(signal: AbortSignal): Promise<void> {
    const [{ issuer }, { keys }, { data }] = await Promise.all([
      client.call<{ readonly issuer: string }>({ path: '/.well-known/openid-configuration' }, signal),
      client.call<{ readonly keys: readonly object[] }>(
        { path: '/openid/v1/jwks', accept: 'application/jwk-set+json' },
        signal,
      ),
      client.call<ConfigMap>({ path }, signal),
    ]);
    const text = JSON.stringify({ issuer, keys });
    if (data?.[FILE] === text) return;
    const body = { data: { [FILE]: text } };
    await client.call({ method: 'PATCH', path, body, contentType: 'application/merge-patch+json' }, signal);
    log.info('The keys of the tokens of pods were written', { configMap: name, issuer, keys: keys.length });
  }

  async function run(signal: AbortSignal): Promise<void> {
    const backoff = createBackoff(random, BACKOFF);
    while (!signal.aborted) {
      try {
        await look(signal);
        backoff.reset();
        await delay(intervalMs, undefined, { signal });
      } catch (error) {
        if (signal.aborted) return;
        log.warn('The keys of the tokens of pods could not be kept: mirrors go on with those they have', { error });
        await backoff.wait(signal).catch(() => {}); // It ends by the loop's condition.
      }
    }
  }

  return createLoop(run);
}
