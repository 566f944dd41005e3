import { setTimeout as delay } from 'node:timers/promises';
import { hasCode } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { KubeClient } from '../kube/client.ts';
import type { KubeObject } from '../kube/reflector.ts';
import { GATE_APPLIED_ANNOTATION, SCHEDULING_GATE, TOLD_ANNOTATION } from '../labels.ts';
import { eachAtOnce } from './each-at-once.ts';
import { liftGate } from './lift-gates.ts';
import { writeNode } from './write-node.ts';

export interface TakeAwayDeps {
  readonly client: Pick<KubeClient, 'call'>;
  readonly log: Logger;
}

export interface TakeAwayOptions {
  /** That Miroir runs in. */
  readonly namespace: string;
  /** By which the webhook's replicas choose who leads. */
  readonly lease: string;
  /** The MutatingWebhookConfiguration. */
  readonly configuration: string;
  /** cert-manager's, of the webhook: they go with the Secrets of the same names. */
  readonly certificates: readonly string[];
  /** A leader asks for its lease so often, and an apiserver hears of a configuration sooner: what was quiet for longer stays so. */
  readonly quietMs: number;
  /** Between two looks. */
  readonly intervalMs: number;
}

export interface Taken {
  readonly pods: number;
  readonly nodes: number;
}

interface Pod extends KubeObject {
  readonly spec: { readonly nodeName?: string; readonly schedulingGates?: readonly { readonly name: string }[] };
  readonly status?: { readonly phase?: string };
}

interface List<T> {
  readonly items?: readonly T[];
  readonly metadata?: { readonly continue?: string };
}

interface Lease extends KubeObject {
  readonly spec?: object;
}

/** Some 10 MB of JSON when each pod is large. */
const PAGE_OBJECTS = 500;
const WRITES_AT_ONCE = 6;
const IDENTITY = 'miroir-uninstall';
/** Longer than an apiserver can be slow, and over soon where the uninstall was given up. */
const LEASE_SECONDS = 60;
/** An apiserver that starts refuses what it has not read the roles for yet. */
const REFUSALS_MAX = 5;
const METADATA_ONLY = 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1';
const MERGE = 'application/merge-patch+json';

/**
 * Takes everything off pods and nodes that the webhook wrote and that would have a say after it: scheduling gates, and the nodes'
 * label, annotation and condition; and what cert-manager keeps for it. First the webhook is asked about no more pods, and no replica leads, or both would come back.
 * Resolves when nothing came back for `quietMs`; an apiserver that is away is asked again until the signal aborts. Then, and when
 * it refuses for good, it throws what the client throws: all that was done stays done, and another run goes on.
 */
export async function takeAway(deps: TakeAwayDeps, options: TakeAwayOptions, signal: AbortSignal): Promise<Taken> {
  const { log } = deps;
  const taken = { pods: 0, nodes: 0 };
  let quietSince: number | undefined;
  let refusals = 0;
  for (;;) {
    const startedAt = performance.now();
    try {
      const isLed = !(await takeLead(deps, options, signal));
      await askNoMore(deps, options, signal);
      const [pods, nodes] = [await letPodsGo(deps, signal), await cleanNodes(deps, signal)];
      await deleteCertificates(deps, options, signal);
      taken.pods += pods;
      taken.nodes += nodes;
      if (isLed || pods + nodes > 0) quietSince = undefined;
      else quietSince ??= startedAt;
      if (quietSince !== undefined && performance.now() - quietSince >= options.quietMs) break;
    } catch (error) {
      const isRefused = hasCode(error, 'ERR_KUBE_REFUSED');
      refusals += isRefused ? 1 : 0;
      if (signal.aborted || refusals > REFUSALS_MAX || !(isRefused || hasCode(error, 'ERR_KUBE_UNAVAILABLE')))
        throw error;
      quietSince = undefined;
      log.warn('The apiserver gave no answer, or refused: it is asked again', { error });
    }
    await delay(options.intervalMs, undefined, { signal });
  }
  await tellOfStranded(deps, signal);
  return taken;
}

/** Whether no replica leads: its lease is ours, or there is none. */
async function takeLead(
  { client, log }: TakeAwayDeps,
  { namespace, lease: name }: TakeAwayOptions,
  signal: AbortSignal,
): Promise<boolean> {
  const path = `/apis/coordination.k8s.io/v1/namespaces/${namespace}/leases/${name}`;
  try {
    const lease = await client.call<Lease>({ path }, signal);
    const renewTime = new Date().toISOString().replace('Z', '000Z'); // Microseconds.
    const spec = { ...lease.spec, holderIdentity: IDENTITY, leaseDurationSeconds: LEASE_SECONDS, renewTime };
    await client.call({ method: 'PUT', path, body: { ...lease, spec } }, signal);
    return true;
  } catch (error) {
    if (hasCode(error, 'ERR_KUBE_NOT_FOUND')) return true;
    // The leader was faster: the next time.
    if (!hasCode(error, 'ERR_KUBE_CONFLICT')) throw error;
    log.info('The lease was renewed by the leader at this moment: it is asked for again', { lease: name });
    return false;
  }
}

/** Leaves the configuration without webhooks: helm deletes it, and whoever fails half way has an apiserver that asks nobody. */
async function askNoMore(
  { client }: TakeAwayDeps,
  { configuration }: TakeAwayOptions,
  signal: AbortSignal,
): Promise<void> {
  const path = `/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/${configuration}`;
  try {
    await client.call({ method: 'PATCH', path, body: { webhooks: [] }, contentType: MERGE }, signal);
  } catch (error) {
    if (!hasCode(error, 'ERR_KUBE_NOT_FOUND')) throw error;
  }
}

async function letPodsGo({ client, log }: TakeAwayDeps, signal: AbortSignal): Promise<number> {
  let lifted = 0;
  for await (const pods of unscheduledPods(client, signal)) {
    const held = pods.filter(({ spec }) => spec.schedulingGates?.some(({ name }) => name === SCHEDULING_GATE));
    await eachAtOnce(held, WRITES_AT_ONCE, async ({ metadata: { namespace = '', name, uid = '' } }) => {
      if (!(await liftGate(client, { namespace, name, uid }, signal))) return;
      lifted += 1;
      log.info('Pod waits no more', { namespace, pod: name, reason: 'uninstall' });
    });
  }
  return lifted;
}

/** Nodes that carry the annotation, which is never written without the label and the condition. A label alone is somebody else's. */
async function cleanNodes({ client, log }: TakeAwayDeps, signal: AbortSignal): Promise<number> {
  let cleaned = 0;
  const request = { path: '/api/v1/nodes', accept: METADATA_ONLY };
  for await (const nodes of pages<KubeObject>(client, request, signal)) {
    const written = nodes.filter(({ metadata }) => metadata.annotations?.[TOLD_ANNOTATION] !== undefined);
    await eachAtOnce(written, WRITES_AT_ONCE, async ({ metadata: { name, uid = '', annotations } }) => {
      const node = { uid, label: undefined, told: annotations?.[TOLD_ANNOTATION] };
      try {
        await writeNode(client, [name, node], { label: undefined, told: undefined, message: '' }, signal);
      } catch (error) {
        // It was removed, or replaced, since.
        if (hasCode(error, 'ERR_KUBE_NOT_FOUND') || hasCode(error, 'ERR_KUBE_CONFLICT')) return;
        throw error;
      }
      cleaned += 1;
      log.info('Node cleaned', { node: name });
    });
  }
  return cleaned;
}

/** A Secret that goes before its Certificate is made again. */
async function deleteCertificates(
  { client }: TakeAwayDeps,
  { namespace, certificates }: TakeAwayOptions,
  signal: AbortSignal,
): Promise<void> {
  for (const name of certificates) {
    for (const path of [
      `/apis/cert-manager.io/v1/namespaces/${namespace}/certificates/${name}`,
      `/api/v1/namespaces/${namespace}/secrets/${name}`,
    ]) {
      try {
        await client.call({ method: 'DELETE', path }, signal);
      } catch (error) {
        if (!hasCode(error, 'ERR_KUBE_NOT_FOUND')) throw error;
      }
    }
  }
}

/** Pods of mode `require` that have no node yet find none without labels, and what a pod demands cannot be taken back. */
async function tellOfStranded({ client, log }: TakeAwayDeps, signal: AbortSignal): Promise<void> {
  for await (const pods of unscheduledPods(client, signal)) {
    for (const { metadata } of pods) {
      if (metadata.annotations?.[GATE_APPLIED_ANNOTATION] !== 'require') continue;
      const { namespace, name: pod } = metadata;
      log.warn('This pod requires a compatible node, and no node is labelled any more: delete it', { namespace, pod });
    }
  }
}

function unscheduledPods(client: TakeAwayDeps['client'], signal: AbortSignal): AsyncGenerator<readonly Pod[]> {
  const fieldSelector = 'spec.nodeName=,status.phase=Pending';
  return pages<Pod>(client, { path: '/api/v1/pods', query: { fieldSelector } }, signal);
}

async function* pages<T>(
  client: TakeAwayDeps['client'],
  { query, ...request }: { readonly path: string; readonly accept?: string; readonly query?: Record<string, string> },
  signal: AbortSignal,
): AsyncGenerator<readonly T[]> {
  let next: string | undefined = '';
  while (next !== undefined) {
    const asked: Record<string, string> = {
      ...query,
      limit: String(PAGE_OBJECTS),
      ...(next !== '' && { continue: next }),
    };
    const page: List<T> = await client.call<List<T>>({ ...request, query: asked }, signal);
    yield page.items ?? [];
    next = page.metadata?.continue || undefined;
  }
}
