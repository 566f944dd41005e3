import type { SecretStore } from '../../certs/certificate-keeper.ts';
import { hasCode } from '../../common/errors.ts';
import { ROTATE_ANNOTATION } from '../labels.ts';
import type { KubeClient } from './client.ts';
import type { KubeObject } from './reflector.ts';

export interface SecretStoreOptions {
  readonly namespace: string;
  readonly name: string;
}

interface Secret extends KubeObject {
  readonly data?: Readonly<Record<string, string>>;
}

/** A Secret that is only written as a whole, and only by who has seen its latest version. */
export function createSecretStore(
  client: Pick<KubeClient, 'call'>,
  { namespace, name }: SecretStoreOptions,
): SecretStore {
  const folder = `/api/v1/namespaces/${namespace}/secrets`;
  const path = `${folder}/${name}`;
  return {
    read: async (signal) => {
      try {
        const { metadata, data = {} } = await client.call<Secret>({ path }, signal);
        return {
          texts: mapValues(data, (value) => Buffer.from(value, 'base64').toString()),
          version: metadata.resourceVersion ?? '',
          isRotationAsked: metadata.annotations?.[ROTATE_ANNOTATION] !== undefined,
        };
      } catch (error) {
        if (hasCode(error, 'ERR_KUBE_NOT_FOUND')) return undefined;
        throw error;
      }
    },
    write: async (texts, version, signal) => {
      const labels = { 'app.kubernetes.io/name': 'miroir', 'app.kubernetes.io/managed-by': 'miroir' };
      const body = {
        apiVersion: 'v1',
        kind: 'Secret',
        metadata: { name, namespace, labels, ...(version !== undefined && { resourceVersion: version }) },
        type: 'Opaque',
        data: mapValues(texts, (text) => Buffer.from(text).toString('base64')),
      };
      if (version === undefined) await client.call({ method: 'POST', path: folder, body }, signal);
      else await client.call({ method: 'PUT', path, body }, signal);
    },
  };
}

function mapValues(
  record: Readonly<Record<string, string>>,
  change: (value: string) => string,
): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));
}
