import type { KubeClient } from '../kube/client.ts';
import { NODE_LABEL, TOLD_ANNOTATION } from '../labels.ts';
import type { NodeChange } from './decide-node.ts';
import type { GateNode } from './nodes.ts';

/** Of a node: `True` where containerd asks the mirror, `False` where it does not, `Unknown` where that cannot be told now. */
const CONDITION = 'MiroirReady';

/**
 * Label, annotation and condition in one write, by the subresource that takes all three. Throws what the client throws;
 * ERR_KUBE_CONFLICT when another node has got the name.
 */
export async function writeNode(
  client: Pick<KubeClient, 'call'>,
  [name, { uid, told }]: readonly [string, GateNode],
  change: NodeChange,
  signal: AbortSignal,
): Promise<void> {
  const body = {
    metadata: {
      uid,
      labels: { [NODE_LABEL]: change.label ?? null },
      annotations: { [TOLD_ANNOTATION]: change.told ?? null },
    },
    status: { conditions: [condition(change, told)] },
  };
  const path = `/api/v1/nodes/${encodeURIComponent(name)}/status`;
  // Conditions are merged by their type: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/node-v1/#NodeStatus
  await client.call({ method: 'PATCH', path, body, contentType: 'application/strategic-merge-patch+json' }, signal);
}

function condition({ told, message }: NodeChange, toldBefore: string | undefined): object {
  if (told === undefined) return { $patch: 'delete', type: CONDITION };
  const now = new Date().toISOString().replace(/\.\d+/, '');
  const status = statusOf(told);
  const isSame = toldBefore !== undefined && statusOf(toldBefore) === status;
  return {
    type: CONDITION,
    status,
    reason: camelCase(told.split(' ').at(-1) as string),
    message,
    lastHeartbeatTime: now,
    ...(!isSame && { lastTransitionTime: now }),
  };
}

function statusOf(told: string): 'True' | 'False' | 'Unknown' {
  const [result] = told.split(' ');
  if (result === 'compatible') return 'True';
  return result === 'incompatible' ? 'False' : 'Unknown';
}

/** As reasons of conditions are written. */
function camelCase(code: string): string {
  return code.replace(/(?:^|-)([a-z])/g, (_all, letter: string) => letter.toUpperCase());
}
