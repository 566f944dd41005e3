import assert from 'node:assert/strict';
import { until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import { type InstalledCluster, REPOSITORY } from './installed-cluster.ts';

export interface Built {
  readonly exitCode: number;
  /** Where each part of the image came from. */
  readonly sources: readonly string[];
  /** From the pod's creation to its end. */
  readonly ms: number;
}

interface Pod {
  readonly metadata: { readonly annotations: Readonly<Record<string, string>> };
  readonly status: {
    readonly phase: string;
    readonly containerStatuses?: readonly { readonly state: { readonly terminated?: { readonly exitCode: number } } }[];
  };
}

/** A pod that pulls an image by itself, by way of the agent that it asks for: `miroir verify` is in the image that the lab has. */
export async function runBuilder(
  { plane: { call } }: InstalledCluster,
  { image, node }: { readonly image: string; readonly node: LabNode },
  signal: AbortSignal,
): Promise<Built> {
  const startedAt = performance.now();
  const path = '/api/v1/namespaces/team/pods';
  const { status, body, warnings } = await call('POST', path, {
    metadata: { name: 'builder', annotations: { 'miroir.dev/sidecar': 'enabled' } },
    spec: {
      containers: [{ name: 'builder', image: `${REPOSITORY}:0.1.0`, args: ['verify', image, '--json'] }],
      restartPolicy: 'Never',
      terminationGracePeriodSeconds: 0,
      nodeSelector: { 'kubernetes.io/hostname': node.name },
    },
  });
  assert.equal(status, 201, JSON.stringify(body));
  assert.deepEqual(warnings, []);
  let pod: Pod | undefined;
  const isOver = async () => {
    pod = (await call<Pod>('GET', `${path}/builder`)).body;
    return pod.status.phase === 'Succeeded' || pod.status.phase === 'Failed';
  };
  await until(isOver, signal, () => JSON.stringify(pod?.status));
  const ms = performance.now() - startedAt;
  assert.equal(pod?.metadata.annotations['miroir.dev/sidecar-applied'], 'injected');
  const { body: log } = await call<string>('GET', `${path}/builder/log?container=builder`);
  await call('DELETE', `${path}/builder`);
  const { parts } = JSON.parse(log) as { readonly parts: readonly { readonly source: string }[] };
  const [{ state } = { state: {} }] = pod.status.containerStatuses ?? [];
  return { exitCode: state.terminated?.exitCode ?? -1, sources: parts.map(({ source }) => source), ms };
}
