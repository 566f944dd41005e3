import fs from 'node:fs';
import path from 'node:path';
import { buildah, buildImage } from '../../scripts/build-image.ts';
import { type Cluster, createCluster } from '../lab/cluster/cluster.ts';
import { CHART, type HelmProgram, runHelm } from '../lab/cluster/helm.ts';
import type { KubeList } from '../lab/cluster/kube-object.ts';
import type { Lab } from '../lab/lab.ts';
import { LabError } from '../lab/lab-error.ts';
import { until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import { type Prometheus, startPrometheus } from './prometheus.ts';

export const NAMESPACE = 'miroir';
const TAG = 'localhost/miroir:dev';
/** Where nobody counts. */
export const REPOSITORY = 'upstream.lab:5001/miroir';

/** Twice what is promised, so that a busy machine is told by a figure and not by a fault. */
const READY_MS = 120_000;

const VALUES = [
  `image.repository=${REPOSITORY}`,
  'registries={upstream.lab:5000=http://upstream.lab:5000}',
  'webhook.extraArgs={--verdict-interval=2s}',
  'sidecar.enabled=true',
];

export interface InstallOptions {
  /** The beginning of a containerd's version for each node. */
  readonly nodes: readonly string[];
  readonly helm: HelmProgram;
  /** More values of the chart, as `name=value`. */
  readonly values?: readonly string[];
  /** Done before the release is installed. */
  readonly prepare?: (cluster: Cluster) => Promise<void>;
}

export interface InstalledCluster extends Cluster {
  readonly helm: (...args: string[]) => Promise<string>;
  /** Installs the release, once more after it was taken away; resolves when everything is ready, to how long that took. */
  readonly install: () => Promise<number>;
  /** Resolves when all replicas of what is at `path` are there and ready. */
  readonly ready: (path: string, signal?: AbortSignal) => Promise<void>;
  readonly prometheus: Prometheus;
  /** From the release to everything being ready. */
  readonly installMs: number;
  /** What was in certs.d before the release. */
  readonly certsBefore: ReturnType<typeof certsOf>;
}

/** A cluster with a release of the chart, of the image that is built here. */
export async function installCluster(options: InstallOptions, signal: AbortSignal): Promise<InstalledCluster> {
  const cluster = await createCluster({ nodes: options.nodes }, signal);
  const { lab, plane } = cluster;
  try {
    await pushMiroir(lab, signal);
    const release = (...args: string[]) =>
      runHelm(options.helm, [...args, `--namespace=${NAMESPACE}`, `--kubeconfig=${plane.kubeconfig}`], signal);
    const ready = async (path: string, readySignal: AbortSignal = signal) => {
      let last = '';
      const isReady = async () => {
        const { body } = await plane.call<Workload>('GET', path);
        last = JSON.stringify(body.status);
        return body.status !== undefined && isComplete(body);
      };
      await until(isReady, readySignal, () => `${path} is not ready: ${last}`);
    };
    const certsBefore = certsOf(lab.nodes);
    const values = [...VALUES, ...(options.values ?? [])].map((value) => `--set=${value}`);
    const install = async () => {
      const startedAt = performance.now();
      await release('install', 'miroir', CHART, '--create-namespace', ...values);
      const soon = AbortSignal.any([signal, AbortSignal.timeout(READY_MS)]);
      await Promise.all([
        ready(`/apis/apps/v1/namespaces/${NAMESPACE}/daemonsets/miroir`, soon),
        ready(`/apis/apps/v1/namespaces/${NAMESPACE}/deployments/miroir-webhook`, soon),
      ]);
      return performance.now() - startedAt;
    };
    await options.prepare?.(cluster);
    const installMs = await install();
    const prometheus = await startPrometheus(plane, NAMESPACE, signal);
    const down = async () => {
      await prometheus.stop(); // Its data are in the control plane's folder.
      await cluster.down();
    };
    return { ...cluster, helm: release, install, ready, certsBefore, installMs, prometheus, down };
  } catch (error) {
    const why = await explain(cluster);
    await cluster.down();
    throw new LabError('ERR_LAB_PROGRAM_ENDED', `Miroir did not come up: ${why}`, { cause: error });
  }
}

/** Builds the image, and pushes it as `miroir:0.1.0` to the registry, which nodes reach directly and by way of the one that counts. */
export async function pushMiroir({ upstream }: Lab, signal: AbortSignal): Promise<void> {
  await buildImage({ tag: TAG }, signal);
  const registry = new URL(upstream.pushUrl).host;
  await buildah(['push', '--tls-verify=false', TAG, `docker://${registry}/miroir:0.1.0`], signal);
}

/** Every file of the nodes' certs.d, and its text. */
export function certsOf(nodes: readonly LabNode[]): readonly (readonly [file: string, text: string])[] {
  return nodes.flatMap(({ name, folder }) => {
    const certs = path.join(folder, 'etc-containerd', 'certs.d');
    const entries = fs.readdirSync(certs, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => path.join(entry.parentPath, entry.name));
    return files.map((file) => [`${name}/${path.relative(certs, file)}`, fs.readFileSync(file, 'utf8')] as const);
  });
}

interface Event {
  readonly type: string;
  readonly message: string;
  readonly involvedObject: { readonly name: string };
}

interface Workload {
  readonly metadata: { readonly generation: number };
  readonly spec: { readonly replicas?: number };
  readonly status: Readonly<Record<string, number | undefined>>;
}

function isComplete({ metadata, spec, status }: Workload): boolean {
  if (status['observedGeneration'] !== metadata.generation) return false;
  // A Deployment, or a DaemonSet.
  if (spec.replicas !== undefined)
    return (
      status['availableReplicas'] === spec.replicas &&
      status['updatedReplicas'] === spec.replicas &&
      status['replicas'] === spec.replicas
    );
  const wanted = status['desiredNumberScheduled'] ?? 0;
  return wanted > 0 && status['numberReady'] === wanted && status['updatedNumberScheduled'] === wanted;
}

/** What the cluster says of what does not run. */
async function explain({ plane: { call } }: Cluster): Promise<string> {
  const { body } = await call<Partial<KubeList<Event>>>('GET', `/api/v1/namespaces/${NAMESPACE}/events`);
  return (body.items ?? [])
    .filter(({ type }) => type === 'Warning')
    .map(({ message, involvedObject: { name } }) => `${name}: ${message}`)
    .slice(-10)
    .join('\n');
}
