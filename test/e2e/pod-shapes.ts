import fs from 'node:fs';
import path from 'node:path';
import { until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import type { InstalledCluster } from './installed-cluster.ts';

/** The lab's own, which pods have that are not about it. */
export const PLAIN_IMAGE = 'upstream.lab:5001/lab/pause:v1';
const AUTH = { username: 'lab', password: 'secret' };
const PULL_MS = 90_000;
const PODS = '/api/v1/namespaces/team/pods';

export type Outcome = 'runs' | 'refused';

/** Busybox does not hear SIGTERM as the first process. */
const SOON_GONE = { terminationGracePeriodSeconds: 1 };

type PodSpec = Readonly<Record<string, unknown>>;

/** Pods that name an image, or a digest, of a registry that asks who is there; and what becomes of them without a mirror. */
const SHAPES: Readonly<Record<string, { readonly outcome: Outcome; readonly spec: (image: string) => PodSpec }>> = {
  secret: { outcome: 'runs', spec: (image) => ({ ...runs(image), imagePullSecrets: [{ name: 'right' }] }) },
  'no-secret': { outcome: 'refused', spec: (image) => runs(image) },
  'wrong-secret': { outcome: 'refused', spec: (image) => ({ ...runs(image), imagePullSecrets: [{ name: 'wrong' }] }) },
  'account-secret': { outcome: 'runs', spec: (image) => ({ ...runs(image), serviceAccountName: 'puller' }) },
  digest: { outcome: 'runs', spec: (image) => ({ ...runs(image), imagePullSecrets: [{ name: 'right' }] }) },
  always: {
    outcome: 'runs',
    spec: (image) => ({
      containers: [{ name: 'app', image, imagePullPolicy: 'Always' }],
      imagePullSecrets: [{ name: 'right' }],
    }),
  },
  init: {
    outcome: 'runs',
    spec: (image) => ({
      ...runs(PLAIN_IMAGE),
      initContainers: [{ name: 'init', image, command: ['/busybox', 'true'] }],
      imagePullSecrets: [{ name: 'right' }],
    }),
  },
  'init-no-secret': {
    outcome: 'refused',
    spec: (image) => ({
      ...runs(PLAIN_IMAGE),
      initContainers: [{ name: 'init', image, command: ['/busybox', 'true'] }],
    }),
  },
  volume: {
    outcome: 'runs',
    spec: (image) => ({
      containers: [{ name: 'app', image: PLAIN_IMAGE, volumeMounts: [{ name: 'image', mountPath: '/image' }] }],
      volumes: [{ name: 'image', image: { reference: image } }],
      imagePullSecrets: [{ name: 'right' }],
    }),
  },
};

export interface ShapesOptions {
  /** A part of the images' names: what nobody but the holder has pulled. */
  readonly tag: string;
  readonly scheme: 'basic' | 'token';
  /** Has all images already. */
  readonly holder: LabNode;
  /** Where the pods are. */
  readonly node: LabNode;
}

export interface ShapesReport {
  readonly outcomes: Readonly<Record<string, Outcome>>;
  readonly expected: Readonly<Record<string, Outcome>>;
  /** That the registry sent of the images' layers. */
  readonly upstreamBytes: number;
}

/** Runs pods of every shape on a node; the registry is locked for all but the static one, which can have no Secret. */
export async function runPodShapes(
  { lab, plane: { call } }: InstalledCluster,
  { tag, scheme, holder, node }: ShapesOptions,
  signal: AbortSignal,
): Promise<ShapesReport> {
  // containerd has image volumes since 2.1.
  const shapes = Object.entries(SHAPES).filter(
    ([name]) => name !== 'volume' || !node.containerdVersion.startsWith('1.'),
  );
  const push = (name: string) =>
    lab.upstream.push(
      `shapes/${name}:${tag}`,
      { seed: `${name}/${tag}`, layers: [{ bytes: 300_000 }], runs: ['sleep', '1000000'] },
      signal,
    );
  const images = new Map<string, Awaited<ReturnType<typeof push>>>();
  for (const name of ['static', ...shapes.map(([shape]) => shape)]) images.set(name, await push(name));
  for (const { reference } of images.values()) await holder.pull(reference, {}, signal);
  await lab.upstream.resetStats();

  const outcomes: Record<string, Outcome> = {};
  const staticPod = path.join(node.folder, 'var-lib-kubelet', 'static-pods', 'static.json');
  const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'static', namespace: 'team' } };
  fs.writeFileSync(
    staticPod,
    JSON.stringify({ ...pod, spec: { ...runs(images.get('static')?.reference ?? ''), ...SOON_GONE } }),
  );
  const outcomeOf = async (name: string) => {
    const late = AbortSignal.any([signal, AbortSignal.timeout(PULL_MS)]);
    let last = '';
    const isKnown = async () => {
      const { body } = await call<{ readonly status?: PodStatus }>('GET', `${PODS}/${name}`);
      last = JSON.stringify(body.status);
      const outcome = readOutcome(body.status ?? {});
      if (outcome !== undefined) outcomes[name.replace(`-${node.name}`, '')] = outcome;
      return outcome !== undefined;
    };
    await until(isKnown, late, () => `nothing became of ${name}: ${last}`);
  };
  await outcomeOf(`static-${node.name}`);
  fs.rmSync(staticPod);

  await lab.upstream.lock(scheme);
  try {
    for (const [name, { spec }] of shapes) {
      const { reference, repository, digest } = images.get(name) as Awaited<ReturnType<typeof push>>;
      const image = name === 'digest' ? `${lab.upstream.host}/${repository}@${digest}` : reference;
      const there = { nodeSelector: { 'kubernetes.io/hostname': node.name }, ...SOON_GONE };
      const { status, body } = await call('POST', PODS, { metadata: { name }, spec: { ...spec(image), ...there } });
      if (status !== 201) throw new Error(`${name}: ${JSON.stringify(body)}`);
    }
    await Promise.all(shapes.map(([name]) => outcomeOf(name)));
  } finally {
    await lab.upstream.lock(undefined);
    for (const [name] of shapes) await call('DELETE', `${PODS}/${name}?gracePeriodSeconds=0`);
  }
  const isGone = async () => {
    const { body } = await call('GET', PODS);
    const names = body.items.map(({ metadata }) => metadata.name);
    return [`static-${node.name}`, ...shapes.map(([name]) => name)].every((name) => !names.includes(name));
  };
  await until(isGone, signal);
  const { byDigest } = await lab.upstream.stats();
  const layers = [...images.values()].flatMap(({ manifests }) => manifests[0]?.layers.slice(0, 1) ?? []);
  return {
    outcomes,
    expected: { static: 'runs', ...Object.fromEntries(shapes.map(([name, { outcome }]) => [name, outcome])) },
    upstreamBytes: layers.reduce((sum, { digest }) => sum + (byDigest[digest]?.bytes ?? 0), 0),
  };
}

/** The Secrets of the pods' namespace, and an account that has one. */
export async function createPullSecrets({ lab, plane: { call } }: InstalledCluster): Promise<void> {
  for (const [name, password] of [
    ['right', AUTH.password],
    ['wrong', 'guessed'],
  ]) {
    const auth = Buffer.from(`${AUTH.username}:${password}`).toString('base64');
    const config = JSON.stringify({ auths: { [lab.upstream.host]: { auth } } });
    await call('POST', '/api/v1/namespaces/team/secrets', {
      metadata: { name },
      type: 'kubernetes.io/dockerconfigjson',
      stringData: { '.dockerconfigjson': config },
    });
  }
  const account = { metadata: { name: 'puller' }, imagePullSecrets: [{ name: 'right' }] };
  await call('POST', '/api/v1/namespaces/team/serviceaccounts', account);
}

function runs(image: string): PodSpec {
  return { containers: [{ name: 'app', image, imagePullPolicy: 'IfNotPresent' }] };
}

interface PodStatus {
  readonly containerStatuses?: readonly ContainerStatus[];
  readonly initContainerStatuses?: readonly ContainerStatus[];
}

interface ContainerStatus {
  readonly ready: boolean;
  readonly state?: { readonly waiting?: { readonly reason?: string } };
}

/** Undefined as long as it may still go either way. */
function readOutcome({ containerStatuses = [], initContainerStatuses = [] }: PodStatus): Outcome | undefined {
  const reasons = [...initContainerStatuses, ...containerStatuses].map(({ state }) => state?.waiting?.reason ?? '');
  if (reasons.some((reason) => reason === 'ErrImagePull' || reason === 'ImagePullBackOff')) return 'refused';
  return containerStatuses.length > 0 && containerStatuses.every(({ ready }) => ready) ? 'runs' : undefined;
}
