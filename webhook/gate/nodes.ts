import { createReflector, type KubeObject, type Reflector, type ReflectorDeps } from '../kube/reflector.ts';
import { NODE_LABEL, TOLD_ANNOTATION } from '../labels.ts';
import type { NodeCounts } from './breaker.ts';
import type { NodeView } from './decide-node.ts';

export interface GateNode extends NodeView {
  /** Of this very node: another one may get its name. */
  readonly uid: string;
}

export interface Nodes extends Pick<Reflector<GateNode>, 'start' | 'stop' | 'isSynced' | 'entries' | 'get'> {
  /** Undefined until they were listed. */
  counts(): NodeCounts | undefined;
}

/** The nodes, and what Miroir wrote on them: every replica knows them, since each has to know when to bypass the gate. */
export function createNodes(deps: ReflectorDeps): Nodes {
  let counted: NodeCounts | undefined;
  const reflector = createReflector<GateNode>(deps, {
    path: '/api/v1/nodes',
    isMetadataOnly: true,
    project,
    onChange: () => {
      counted = undefined;
    },
  });
  return {
    ...reflector,
    counts: () => {
      if (reflector.isSynced()) counted ??= count(reflector.entries());
      return counted;
    },
  };
}

function project({ metadata: { uid = '', labels, annotations } }: KubeObject): GateNode {
  return { uid, label: labels?.[NODE_LABEL], told: annotations?.[TOLD_ANNOTATION] };
}

function count(nodes: Iterable<[string, NodeView]>): NodeCounts {
  const counts = { compatible: 0, incompatible: 0, unlabelled: 0 };
  for (const [, { label }] of nodes) {
    if (label === 'compatible' || label === 'incompatible') counts[label] += 1;
    else counts.unlabelled += 1;
  }
  return counts;
}
