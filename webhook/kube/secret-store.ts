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

/** A Secret that is only written by who has seen its latest version. Labels and annotations of others are left alone. */
export function createSecretStore(
  client: Pick<KubeClient, 'call'>,
  { namespace, name }: SecretStoreOptions,
): SecretStore {
  const folder = `/api/v1/namespaces/${namespace}/secrets`;
  const path = `${folder}/${name}`;
  /** What was there at the last reading: it goes when it is not written again. */
  let keys: readonly string[] = [];
  return {
    read: async (signal) => {
      try {
        const { metadata, data = {} } = await client.call<Secret>({ path }, signal);
        keys = Object.keys(data);
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
      const data = mapValues(texts, (text) => Buffer.from(text).toString('base64'));
      if (version === undefined) {
        const labels = { 'app.kubernetes.io/name': 'miroir', 'app.kubernetes.io/managed-by': 'miroir' };
        const body = { apiVersion: 'v1', kind: 'Secret', metadata: { name, namespace, labels }, type: 'Opaque', data };
        await client.call({ method: 'POST', path: folder, body }, signal);
        return;
      }
      const gone = Object.fromEntries(keys.map((key) => [key, null]));
      // A null takes out: https://www.rfc-editor.org/rfc/rfc7386
      const metadata = { resourceVersion: version, annotations: { [ROTATE_ANNOTATION]: null } };
      const body = { metadata, data: { ...gone, ...data } };
      await client.call({ method: 'PATCH', path, body, contentType: 'application/merge-patch+json' }, signal);
    },
  };
}

function mapValues(
  record: Readonly<Record<string, string>>,
  change: (value: string) => string,
): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, change(value)]));
}
