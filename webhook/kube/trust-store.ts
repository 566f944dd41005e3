import type { TrustStore } from '../../certs/certificate-keeper.ts';
import { hasCode } from '../../common/errors.ts';
import type { KubeClient } from './client.ts';
import type { KubeObject } from './reflector.ts';

interface Configuration extends KubeObject {
  readonly webhooks?: readonly { readonly name: string; readonly clientConfig: { readonly caBundle?: string } }[];
}

/** Whom the apiserver trusts for us: the caBundles of a MutatingWebhookConfiguration. Nothing else of it is touched. */
export function createTrustStore(client: Pick<KubeClient, 'call'>, configuration: string): TrustStore {
  const path = `/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/${configuration}`;
  return {
    read: async (signal) => {
      try {
        const { metadata, webhooks = [] } = await client.call<Configuration>({ path }, signal);
        const bundles = webhooks.map(
          ({ name, clientConfig: { caBundle = '' } }) => [name, Buffer.from(caBundle, 'base64').toString()] as const,
        );
        return { bundles: new Map(bundles), version: metadata.resourceVersion ?? '' };
      } catch (error) {
        if (hasCode(error, 'ERR_KUBE_NOT_FOUND')) return undefined;
        throw error;
      }
    },
    write: async (names, bundle, version, signal) => {
      const caBundle = Buffer.from(bundle).toString('base64');
      // Merged by name into what is there: https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
      const webhooks = [...names].map((name) => ({ name, clientConfig: { caBundle } }));
      const body = { metadata: { resourceVersion: version }, webhooks };
      const contentType = 'application/strategic-merge-patch+json';
      await client.call({ method: 'PATCH', path, body, contentType }, signal);
    },
  };
}
