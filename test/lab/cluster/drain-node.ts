import { until } from '../namespace.ts';
import type { KubeCall } from './kube-call.ts';
import type { KubeList } from './kube-object.ts';

interface Pod {
  readonly metadata: {
    readonly name: string;
    readonly namespace: string;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly { readonly kind: string }[];
  };
}

/** As `kubectl drain --force` does: no new pods, and all but those of DaemonSets and static ones are evicted. Resolves when they are gone. */
export async function drainNode(call: KubeCall, name: string, signal: AbortSignal): Promise<void> {
  await setUnschedulable(call, name, true);
  const isDrained = async () => {
    const { body } = await call<KubeList<Pod>>('GET', `/api/v1/pods?fieldSelector=spec.nodeName=${name}`, undefined, {
      signal,
    });
    const pods = body.items.filter(isEvicted);
    // One that a disruption budget holds back, or that goes already, is asked for again.
    await Promise.all(pods.map(({ metadata }) => evict(call, metadata)));
    return pods.length === 0;
  };
  await until(isDrained, signal, () => `${name} is not drained`);
}

/** Lets a node that was drained have pods again. */
export async function uncordonNode(call: KubeCall, name: string): Promise<void> {
  await setUnschedulable(call, name, false);
}

async function setUnschedulable(call: KubeCall, name: string, unschedulable: boolean): Promise<void> {
  const merge = { contentType: 'application/merge-patch+json' };
  const { status, body } = await call('PATCH', `/api/v1/nodes/${name}`, { spec: { unschedulable } }, merge);
  if (status !== 200) throw new Error(`${name} cannot be cordoned: ${JSON.stringify(body)}`);
}

function isEvicted({ metadata: { annotations = {}, ownerReferences = [] } }: Pod): boolean {
  return !('kubernetes.io/config.mirror' in annotations) && !ownerReferences.some(({ kind }) => kind === 'DaemonSet');
}

async function evict(call: KubeCall, { name, namespace }: Pod['metadata']): Promise<void> {
  const eviction = { apiVersion: 'policy/v1', kind: 'Eviction', metadata: { name, namespace } };
  await call('POST', `/api/v1/namespaces/${namespace}/pods/${name}/eviction`, eviction);
}
