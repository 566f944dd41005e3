import assert from 'node:assert/strict';
import type { KubeList } from '../lab/cluster/kube-object.ts';
import type { InstalledCluster } from './installed-cluster.ts';

export interface DeployOptions {
  /** The name of a Secret that the pods pull with. */
  readonly pullSecret?: string;
}

/** Rolls an image out over the nodes, as a Deployment does; resolves when all pods are ready. */
export async function deploy(
  { plane: { call }, ready }: InstalledCluster,
  image: string,
  replicas: number,
  { pullSecret }: DeployOptions = {},
): Promise<void> {
  const path = '/apis/apps/v1/namespaces/team/deployments';
  const labels = { app: 'app' };
  const topologySpreadConstraints = [
    {
      maxSkew: 1,
      topologyKey: 'kubernetes.io/hostname',
      whenUnsatisfiable: 'DoNotSchedule',
      labelSelector: { matchLabels: labels },
    },
  ];
  const containers = [{ name: 'app', image, imagePullPolicy: 'IfNotPresent' }];
  const spec = {
    replicas,
    selector: { matchLabels: labels },
    strategy: { rollingUpdate: { maxSurge: '100%', maxUnavailable: 0 } },
    template: {
      metadata: { labels },
      spec: {
        containers,
        topologySpreadConstraints,
        terminationGracePeriodSeconds: 0,
        ...(pullSecret !== undefined && { imagePullSecrets: [{ name: pullSecret }] }),
      },
    },
  };
  const body = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'app' }, spec };
  const apply = { contentType: 'application/apply-patch+yaml' };
  const { status, body: answer } = await call('PATCH', `${path}/app?fieldManager=test&force=true`, body, apply);
  assert.ok(status === 200 || status === 201, JSON.stringify(answer));
  await ready(`${path}/app`);
}

/** What kubelets say of pulls of the rolled out images that failed: as Events, which the apiserver keeps for an hour. */
export async function failedPulls({ plane: { call } }: InstalledCluster): Promise<readonly string[]> {
  const { body } = await call<KubeList<Event>>('GET', '/api/v1/namespaces/team/events?fieldSelector=reason=Failed');
  return body.items
    .filter(({ message }) => message.startsWith('Failed to pull image') && message.includes('/team/app:'))
    .map(({ message, involvedObject, source }) => `${source.host}: ${involvedObject.name}: ${message}`);
}

interface Event {
  readonly message: string;
  readonly involvedObject: { readonly name: string };
  readonly source: { readonly host: string };
}
