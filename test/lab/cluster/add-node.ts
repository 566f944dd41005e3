import { until } from '../namespace.ts';
import type { KubeCall } from './kube-call.ts';

/** What a small machine has. */
const ALLOCATABLE = { cpu: '8', memory: '16Gi', pods: '110' };

/**
 * Adds a node without a kubelet, for a scheduler to bind pods to. The controller-manager takes it for lost when it has
 * heard nothing of it for 50 s. Resolves when pods can be bound to it.
 */
export async function addNode(
  call: KubeCall,
  name: string,
  labels: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<void> {
  const ready = { type: 'Ready', status: 'True', reason: 'Lab', lastHeartbeatTime: new Date().toISOString() };
  await call('POST', '/api/v1/nodes', {
    metadata: { name, labels: { 'kubernetes.io/hostname': name, 'kubernetes.io/os': 'linux', ...labels } },
  });
  await call(
    'PATCH',
    `/api/v1/nodes/${name}/status`,
    { status: { capacity: ALLOCATABLE, allocatable: ALLOCATABLE, conditions: [ready] } },
    { contentType: 'application/strategic-merge-patch+json', signal },
  );
  // Admission taints every new node, and the controller-manager takes the taint away from a ready one.
  const isFree = async () => {
    const { body } = await call('GET', `/api/v1/nodes/${name}`, undefined, { signal });
    return (body.spec.taints ?? []).length === 0;
  };
  await until(isFree, signal);
}
