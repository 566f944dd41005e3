import fs from 'node:fs';
import path from 'node:path';
import { parseManifests, pathOf } from '../lab/cluster/helm.ts';
import type { KubeList } from '../lab/cluster/kube-object.ts';
import type { Lab } from '../lab/lab.ts';
import type { LabNode } from '../lab/node.ts';
import { type InstalledCluster, NAMESPACE } from './installed-cluster.ts';

/** For a median. */
const PULLS = 7;

/** Deletes the objects of the release one after another in an order by chance, as a tool does that knows nothing of Helm's hooks. */
export async function prune({ helm, plane: { call } }: InstalledCluster, random: () => number): Promise<void> {
  const manifests = parseManifests(await helm('get', 'manifest', 'miroir'));
  const shuffled = manifests.map((manifest) => ({ manifest, at: random() })).toSorted((a, b) => a.at - b.at);
  for (const { manifest } of shuffled) {
    const object = `${pathOf(manifest)}/${manifest.metadata.name}?propagationPolicy=Background`;
    const { status, body } = await call('DELETE', object);
    if (status >= 300) throw new Error(`${object}: ${JSON.stringify(body)}`);
  }
  // Helm's own record, which such a tool does not make.
  await call('DELETE', `/api/v1/namespaces/${NAMESPACE}/secrets?labelSelector=owner=helm`);
}

/**
 * What is in the release's namespace that no new one has. Without the pods of a node that was removed: they go when the
 * controller-manager has looked for their node for a minute, whatever they ran.
 */
export async function objectsLeft({ lab, plane: { call } }: InstalledCluster): Promise<readonly string[]> {
  const places = [
    ...['pods', 'secrets', 'services'].map((kind) => `/api/v1/namespaces/${NAMESPACE}/${kind}`),
    ...['daemonsets', 'deployments', 'replicasets'].map((kind) => `/apis/apps/v1/namespaces/${NAMESPACE}/${kind}`),
    `/apis/coordination.k8s.io/v1/namespaces/${NAMESPACE}/leases`,
    `/apis/batch/v1/namespaces/${NAMESPACE}/jobs`,
  ];
  const lists = await Promise.all(places.map((place) => call<KubeList<Left>>('GET', place)));
  return lists.flatMap(({ body }, index) =>
    body.items
      .filter(({ spec }) => spec?.nodeName === undefined || lab.nodes.some(({ name }) => name === spec.nodeName))
      .map(({ metadata }) => `${places[index]}/${metadata.name}`),
  );
}

/** Nodes that have anything of Miroir's. */
export async function markedNodes({ plane: { call } }: InstalledCluster): Promise<readonly string[]> {
  const { body } = await call<KubeList<MarkedNode>>('GET', '/api/v1/nodes');
  return body.items
    .filter(({ metadata: { labels, annotations }, status }) =>
      /miroir/i.test(JSON.stringify([labels, annotations, status.conditions])),
    )
    .map(({ metadata }) => metadata.name)
    .toSorted();
}

/**
 * The milliseconds that a small image takes from the registry with what stayed in certs.d, and with what was there before: medians
 * of pulls in turns, so that a busy machine makes both slower.
 */
export async function comparePulls(lab: Lab, node: LabNode, before: string, signal: AbortSignal): Promise<Compared> {
  const file = path.join(node.folder, 'etc-containerd', 'certs.d', lab.upstream.host, 'hosts.toml');
  const stayed = fs.readFileSync(file, 'utf8');
  const times: { readonly [K in keyof Compared]: number[] } = { stayed: [], before: [] };
  for (let turn = 0; turn < PULLS; turn++) {
    for (const [what, text] of [
      ['stayed', stayed],
      ['before', before],
    ] as const) {
      fs.writeFileSync(file, text); // containerd reads it at each pull.
      const tag = `${what}-${node.name}-${turn}`;
      const { reference } = await lab.upstream.push(
        `small/app:${tag}`,
        { seed: tag, layers: [{ bytes: 1000 }] },
        signal,
      );
      times[what].push((await node.pull(reference, {}, signal)).ms);
    }
  }
  fs.writeFileSync(file, stayed);
  return { stayed: median(times.stayed), before: median(times.before) };
}

export interface Compared {
  readonly stayed: number;
  readonly before: number;
}

function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] as number;
}

interface Left {
  readonly metadata: { readonly name: string };
  readonly spec?: { readonly nodeName?: string };
}

interface MarkedNode {
  readonly metadata: { readonly name: string; readonly labels?: object; readonly annotations?: object };
  readonly status: { readonly conditions?: readonly object[] };
}
