import { setTimeout as delay } from 'node:timers/promises';
import { type Component, createLoop } from '../../common/lifecycle.ts';
import type { Logger } from '../../common/log.ts';
import type { KubeClient } from './client.ts';

export interface PermissionDeps {
  readonly client: Pick<KubeClient, 'call'>;
  readonly log: Logger;
}

export interface PermissionOptions {
  /** In all namespaces, as in `patch` of `pods`. */
  readonly verb: string;
  readonly resource: string;
}

export interface Permission extends Component {
  /** As it was asked last; not before it was. */
  isGranted(): boolean;
}

/** Roles change seldom, and who has got less than it thinks finds out by itself. */
const INTERVAL_MS = 30_000;

interface AccessReview {
  readonly status?: { readonly allowed?: boolean };
}

/** Whether the apiserver lets us do something: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access. */
export function createPermission({ client, log }: PermissionDeps, { verb, resource }: PermissionOptions): Permission {
  let isGranted = false;

  async function ask(signal: AbortSignal): Promise<void> {
    const body = {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      spec: { resourceAttributes: { verb, resource, version: 'v1' } },
    };
    const path = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
    const { status } = await client.call<AccessReview>({ method: 'POST', path, body }, signal);
    const allowed = status?.allowed === true;
    if (allowed !== isGranted) log.info('What Miroir may do has changed', { verb, resource, allowed });
    isGranted = allowed;
  }

  async function run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // What was granted is no less so while nobody can tell.
      await ask(signal).catch((error: unknown) => {
        if (!signal.aborted) log.warn('The apiserver does not tell what Miroir may do', { verb, resource, error });
      });
      await delay(INTERVAL_MS, undefined, { signal }).catch(() => {});
    }
  }

  return {
    ...createLoop(run),
    isGranted: () => isGranted,
  };
}
