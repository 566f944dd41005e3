import { hasCode } from '../../common/errors.ts';
import type { Component } from '../../common/lifecycle.ts';
import { MIRROR_LABEL } from '../labels.ts';
import { createReflector, type KubeObject, type ReflectorDeps } from './reflector.ts';

/** What a namespace says about its pods. */
export interface Namespace {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Namespaces extends Component {
  isSynced(): boolean;
  /** As far as it is known here. */
  isOptedIn(name: string): boolean;
  /** Undefined when there is none of that name. Throws what the client throws when nobody can tell. */
  find(name: string, signal: AbortSignal): Promise<Namespace | undefined>;
}

/** The namespaces that opted in, from memory; the apiserver is asked about any other one. */
export function createNamespaces(deps: ReflectorDeps): Namespaces {
  const path = '/api/v1/namespaces';
  const query = { labelSelector: `${MIRROR_LABEL}=enabled` };
  const reflector = createReflector<Namespace>(deps, { path, query, isMetadataOnly: true, project });
  return {
    ...reflector,
    isOptedIn: (name) => reflector.get(name) !== undefined,
    find: async (name, signal) => {
      const known = reflector.get(name);
      if (known !== undefined) return known;
      // It may have opted in a moment ago, which the apiserver knew when it chose to ask us.
      try {
        return project(await deps.client.call<KubeObject>({ path: `${path}/${encodeURIComponent(name)}` }, signal));
      } catch (error) {
        if (hasCode(error, 'ERR_KUBE_NOT_FOUND')) return undefined;
        throw error;
      }
    },
  };
}

function project({ metadata: { name, labels = {}, annotations = {} } }: KubeObject): Namespace {
  return { name, labels, annotations };
}
