import type { Component } from '../../common/lifecycle.ts';
import { reasonToSkip } from '../admission/mutate-pod.ts';
import { parsePod } from '../admission/pod.ts';
import { createReflector, type KubeObject, type ReflectorDeps } from '../kube/reflector.ts';
import { ADMITTED_ANNOTATION, MIRROR_LABEL, SCHEDULING_GATE } from '../labels.ts';

/** What is kept of a pod, of those that anything is to be done about. */
export interface GatePod {
  readonly uid: string;
  readonly namespace: string;
  readonly name: string;
  /** Milliseconds since 1970, by the apiserver's clock. */
  readonly createdAt: number;
  /** Our scheduling gate holds it back. */
  readonly isHeld: boolean;
  /** Admission has not seen it, and should have if it was opted in: `pod` by itself, `namespace` if that is. */
  readonly unseen: 'pod' | 'namespace' | undefined;
}

/** Pods that have ended concern nobody. */
const NOT_ENDED = { fieldSelector: 'status.phase!=Succeeded,status.phase!=Failed' };

export interface Pods extends Component {
  /** Those that wait. */
  held(): readonly GatePod[];
  /** Those that opted in and run without the gate: admission was away when they were made, or they are older than the label. */
  missed(isOptedIn: (namespace: string) => boolean): readonly GatePod[];
}

/** The pods of the cluster that wait, and those that admission may have missed. */
export function createPods(deps: ReflectorDeps, ownNamespace: string): Pods {
  let held: readonly GatePod[] | undefined;
  const reflector = createReflector<GatePod>(deps, {
    path: '/api/v1/pods',
    query: NOT_ENDED,
    project: (object) => projectPod(object, ownNamespace),
    onChange: () => {
      held = undefined;
    },
  });
  return {
    ...reflector,
    // Asked every second, of which most change nothing.
    held: () => (held ??= [...reflector.entries()].flatMap(([, pod]) => (pod.isHeld ? [pod] : []))),
    missed: (isOptedIn) => missedPods(reflector.entries(), isOptedIn),
  };
}

export function projectPod(object: KubeObject, ownNamespace: string): GatePod | undefined {
  const { name, namespace = '', uid = '', creationTimestamp = '' } = object.metadata;
  const pod = parsePod(object);
  if (pod === undefined) return undefined;
  const isHeld = pod.schedulingGates?.includes(SCHEDULING_GATE) ?? false;
  const isSeen = pod.annotations?.[ADMITTED_ANNOTATION] !== undefined;
  // Its namespace may opt in at any time.
  const asNew = { ...pod, nodeName: wasCreatedForNode(object) ? pod.nodeName : undefined };
  const optedIn = { name: namespace, labels: { [MIRROR_LABEL]: 'enabled' }, annotations: {} };
  const isUnseen = !isSeen && reasonToSkip(asNew, { namespace: optedIn, ownNamespace }) === undefined;
  if (!isHeld && !isUnseen) return undefined;
  const unseen = pod.labels[MIRROR_LABEL] === 'enabled' ? 'pod' : 'namespace';
  return {
    uid,
    namespace,
    name,
    createdAt: Date.parse(creationTimestamp),
    isHeld,
    unseen: isUnseen ? unseen : undefined,
  };
}

/**
 * Whether who made the pod named its node, and no scheduler chose one: then the gate had nothing to say. A binding sets the node, and is
 * the manager of no field. Where the record of fields was stripped nobody can tell any more, and the pod counts.
 */
function wasCreatedForNode({ metadata: { managedFields = [] } }: KubeObject): boolean {
  return managedFields.some(({ fieldsV1 }) => {
    const spec = fieldsV1?.['f:spec'];
    return typeof spec === 'object' && spec !== null && 'f:nodeName' in spec;
  });
}

export function missedPods(
  pods: Iterable<[string, GatePod]>,
  isOptedIn: (namespace: string) => boolean,
): readonly GatePod[] {
  const missed: GatePod[] = [];
  for (const [, pod] of pods) {
    if (pod.unseen === 'pod' || (pod.unseen === 'namespace' && isOptedIn(pod.namespace))) missed.push(pod);
  }
  return missed;
}
