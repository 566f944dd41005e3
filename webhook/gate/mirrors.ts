import { createReflector, type KubeObject, type Reflector, type ReflectorDeps } from '../kube/reflector.ts';

/** A mirror's pod. */
export interface Mirror {
  readonly node: string;
  /** Undefined as long as it does not run. */
  readonly hostIp: string | undefined;
  /** As Kubernetes writes it. */
  readonly createdAt: string;
}

interface PodObject extends KubeObject {
  readonly spec?: { readonly nodeName?: string };
  readonly status?: { readonly phase?: string; readonly hostIP?: string };
}

export interface MirrorsOptions {
  readonly namespace: string;
  readonly selector: string;
}

/** The mirrors' pods, by their label. */
export function createMirrors(deps: ReflectorDeps, { namespace, selector }: MirrorsOptions): Reflector<Mirror> {
  const path = `/api/v1/namespaces/${namespace}/pods`;
  return createReflector<Mirror>(deps, { path, query: { labelSelector: selector }, project });
}

function project({ metadata, spec, status }: PodObject): Mirror | undefined {
  // The pod of a DaemonSet that nothing is free for has no node.
  if (spec?.nodeName === undefined) return undefined;
  const hostIp = status?.phase === 'Running' ? status.hostIP : undefined;
  return { node: spec.nodeName, hostIp, createdAt: metadata.creationTimestamp ?? '' };
}

/** One a node: of two, while they are replaced, the one that runs, or the newer. */
export function mirrorsByNode(mirrors: Iterable<[string, Mirror]>): ReadonlyMap<string, Mirror> {
  const chosen = new Map<string, Mirror>();
  for (const [, mirror] of mirrors) {
    const other = chosen.get(mirror.node);
    if (other === undefined || isBetter(mirror, other)) chosen.set(mirror.node, mirror);
  }
  return chosen;
}

function isBetter(one: Mirror, other: Mirror): boolean {
  const [runs, otherRuns] = [one.hostIp !== undefined, other.hostIp !== undefined];
  return runs === otherRuns ? one.createdAt > other.createdAt : runs;
}
