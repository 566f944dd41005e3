import { MiroirError } from '../common/errors.ts';
import { formatHostPort, type HostPort } from '../common/host-port.ts';
import type { MirrorStatus } from '../mirror/status.ts';
import type { KubeClient } from '../webhook/kube/client.ts';
import type { KubeObject } from '../webhook/kube/reflector.ts';

/** What one mirror says of itself, or why it says nothing. */
export interface MirrorReport {
  readonly node: string;
  readonly status: MirrorStatus | undefined;
  readonly problem: string | undefined;
}

/** A mirror answers in milliseconds; one that hangs must not hold up the others. */
const ANSWER_TIMEOUT_MS = 5_000;
/** An apiserver carries each of these to a node. */
const ASKED_AT_ONCE_MAX = 16;
const SELECTOR = 'app.kubernetes.io/name=miroir,app.kubernetes.io/component=mirror';
const HEALTH_PORT = 'health';

interface Pod extends KubeObject {
  readonly spec: { readonly nodeName?: string; readonly containers: readonly Container[] };
}

interface Container {
  readonly ports?: readonly { readonly name?: string; readonly containerPort: number }[];
}

/** Asks mirrors at their health addresses. */
export async function askMirrors(
  addresses: readonly HostPort[],
  signal: AbortSignal,
): Promise<readonly MirrorReport[]> {
  return askAll(addresses, async (address) => {
    const url = `http://${formatHostPort(address)}/status`;
    return ask(formatHostPort(address), async (deadline) => (await fetch(url, { signal: deadline })).json(), signal);
  });
}

/** Asks the mirrors of a cluster by way of its apiserver. Nodes without one are told too. Throws what `client.call` throws. */
export async function listMirrors(
  client: Pick<KubeClient, 'call'>,
  namespace: string | undefined,
  signal: AbortSignal,
): Promise<readonly MirrorReport[]> {
  const path = namespace === undefined ? '/api/v1/pods' : `/api/v1/namespaces/${namespace}/pods`;
  const pods = await client.call<{ items: readonly Pod[] }>({ path, query: { labelSelector: SELECTOR } }, signal);
  const nodes = await client.call<{ items: readonly KubeObject[] }>({ path: '/api/v1/nodes' }, signal);
  const reports = await askAll(pods.items, (pod) => {
    const proxy = `/api/v1/namespaces/${pod.metadata.namespace}/pods/${pod.metadata.name}:${healthPort(pod)}/proxy/status`;
    const node = pod.spec.nodeName;
    if (node === undefined) return { node: '-', status: undefined, problem: 'its pod has no node yet' };
    return ask(node, (deadline) => client.call<unknown>({ path: proxy }, deadline), signal);
  });
  const covered = new Set(reports.map(({ node }) => node));
  const bare = nodes.items.filter(({ metadata }) => !covered.has(metadata.name));
  const without = bare.map(({ metadata }) => ({ node: metadata.name, status: undefined, problem: 'it has no mirror' }));
  return [...reports, ...without].toSorted((a, b) => a.node.localeCompare(b.node, 'en', { numeric: true }));
}

function healthPort({ spec }: Pod): number {
  const ports = spec.containers.flatMap(({ ports: declared = [] }) => declared);
  return ports.find(({ name }) => name === HEALTH_PORT)?.containerPort ?? 29_984;
}

async function askAll<T>(
  all: readonly T[],
  askOne: (one: T) => MirrorReport | Promise<MirrorReport>,
): Promise<readonly MirrorReport[]> {
  const reports: MirrorReport[] = [];
  const queue = [...all];
  const worker = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) reports.push(await askOne(next));
  };
  await Promise.all(Array.from({ length: ASKED_AT_ONCE_MAX }, worker));
  return reports;
}

async function ask(
  node: string,
  read: (signal: AbortSignal) => Promise<unknown>,
  signal: AbortSignal,
): Promise<MirrorReport> {
  const silent = (problem: string) => ({ node, status: undefined, problem });
  try {
    const answer = await read(AbortSignal.any([signal, AbortSignal.timeout(ANSWER_TIMEOUT_MS)]));
    return isStatus(answer) ? { node, status: answer, problem: undefined } : silent('it answers, but not as a mirror');
  } catch (error) {
    if (signal.aborted) throw new MiroirError('ERR_ABORTED', 'asking mirrors was given up', { cause: error });
    const { cause } = error as Error;
    return silent(`no answer: ${cause instanceof Error ? cause.message : (error as Error).message}`);
  }
}

/** A mirror of another version may say more, or less: what is printed must be there. */
function isStatus(value: unknown): value is MirrorStatus {
  const status = value as Partial<MirrorStatus> | null;
  return (
    typeof status === 'object' &&
    typeof status?.version === 'string' &&
    typeof status.startedAt === 'string' &&
    isListOf(status.missing, (item) => typeof item === 'string') &&
    Array.isArray(status.members) &&
    typeof status.verdict?.result === 'string' &&
    isListOf(
      status.verdict.reasons,
      ({ code, sentence }) => typeof code === 'string' && typeof sentence === 'string',
    ) &&
    typeof status.held?.digests === 'number' &&
    isListOf(
      status.registries,
      ({ registry, sparedBytes, sparedRequests, missedRequests }) =>
        [sparedBytes, sparedRequests, missedRequests].every(Number.isFinite) && typeof registry === 'string',
    )
  );
}

function isListOf<T>(value: readonly T[] | undefined, is: (item: T) => boolean): boolean {
  return (
    Array.isArray(value) &&
    value.every((item) => typeof item === 'string' || (typeof item === 'object' && item !== null)) &&
    value.every(is)
  );
}
