import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import type { KubeCall } from '../lab/cluster/kube-call.ts';
import type { KubeList } from '../lab/cluster/kube-object.ts';

const MERGE = { contentType: 'application/strategic-merge-patch+json' };
const LOOK_MS = 200;
/** The controller-manager takes a node for lost after 50 s. */
const HEARTBEAT_MS = 10_000;

interface Pod {
  readonly metadata: { readonly namespace: string; readonly name: string; readonly deletionTimestamp?: string };
  readonly spec: { readonly nodeName?: string };
  readonly status: { readonly phase: string };
}

/** Says of bound pods that they run, of deleted ones that they ended, and of nodes that they are there: what kubelets would. */
export function runPods(t: TestContext, call: KubeCall): void {
  const ending = new AbortController();
  const done = run(call, ending.signal);
  t.after(async () => {
    ending.abort();
    await done;
  });
}

async function run(call: KubeCall, signal: AbortSignal): Promise<void> {
  let beatAt = 0;
  while (!signal.aborted) {
    try {
      if (performance.now() - beatAt > HEARTBEAT_MS) {
        await heartbeat(call);
        beatAt = performance.now();
      }
      const { body } = await call<KubeList<Pod>>('GET', '/api/v1/pods');
      const bound = body.items.filter(({ spec }) => spec.nodeName !== undefined);
      await Promise.all(bound.map((pod) => see(call, pod)));
    } catch {
      // The apiserver may be away, as it may be for kubelets.
    }
    await delay(LOOK_MS, undefined, { signal }).catch(() => {});
  }
}

async function see(call: KubeCall, { metadata: { namespace, name, deletionTimestamp }, status }: Pod): Promise<void> {
  const path = `/api/v1/namespaces/${namespace}/pods/${name}`;
  if (deletionTimestamp !== undefined) await call('DELETE', `${path}?gracePeriodSeconds=0`);
  else if (status.phase === 'Pending') {
    const conditions = [{ type: 'Ready', status: 'True' }];
    await call('PATCH', `${path}/status`, { status: { phase: 'Running', conditions } }, MERGE);
  }
}

async function heartbeat(call: KubeCall): Promise<void> {
  const { body } = await call('GET', '/api/v1/nodes');
  const ready = { type: 'Ready', status: 'True', reason: 'Lab', lastHeartbeatTime: new Date().toISOString() };
  for (const { metadata } of body.items) {
    await call('PATCH', `/api/v1/nodes/${metadata.name}/status`, { status: { conditions: [ready] } }, MERGE);
  }
}
