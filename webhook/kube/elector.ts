import { setTimeout as delay } from 'node:timers/promises';
import { hasCode } from '../../common/errors.ts';
import { type Component, createLoop } from '../../common/lifecycle.ts';
import type { Logger } from '../../common/log.ts';
import type { KubeClient } from './client.ts';

export interface ElectorDeps {
  readonly client: Pick<KubeClient, 'call'>;
  readonly log: Logger;
  /** What the leader does, for as long as it is: the signal ends it. It may end by itself, which ends nothing else. */
  readonly lead: (signal: AbortSignal) => Promise<void>;
}

export interface ElectorOptions {
  readonly namespace: string;
  /** Of the Lease. */
  readonly name: string;
  /** Of this replica, unique. */
  readonly identity: string;
  readonly times: ElectorTimes;
}

/** Others wait `leaseMs` since they last saw a change; who leads gives up sooner, after `deadlineMs` without a renewal. */
export interface ElectorTimes {
  readonly leaseMs: number;
  readonly deadlineMs: number;
  readonly renewMs: number;
}

export interface Elector extends Component {
  isLeader(): boolean;
  /** Whether some replica leads, as far as this one has heard. */
  hasLeader(): boolean;
}

/** https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/lease-v1/ */
interface Lease {
  readonly metadata: { readonly resourceVersion?: string };
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly renewTime?: string;
    readonly acquireTime?: string;
    readonly leaseTransitions?: number;
  };
}

/**
 * One leader among replicas, by a Lease. Clocks are never compared: a lease is over when it did not change for its
 * duration, by the clock of who waits for it.
 */
export function createElector(deps: ElectorDeps, options: ElectorOptions): Elector {
  const { client, log } = deps;
  const { identity, times } = options;
  const folder = `/apis/coordination.k8s.io/v1/namespaces/${options.namespace}/leases`;
  const path = `${folder}/${options.name}`;
  const loop = createLoop(run);
  let term: { readonly ending: AbortController; readonly done: Promise<void>; deadline: NodeJS.Timeout } | undefined;
  /** The lease as it was seen last, and since when it is like that. */
  let seen = { version: '', since: 0, isHeld: false, leaseMs: 0 };

  async function run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      // Counted from before the question: the lease is no older than that.
      const askedAt = performance.now();
      try {
        if (await hold(signal)) extendTerm(askedAt);
        else await endTerm();
      } catch (error) {
        if (!signal.aborted) log.warn('The lease could not be renewed', { lease: options.name, error });
      }
      await delay(times.renewMs, undefined, { signal }).catch(() => {});
    }
  }

  /** Takes the lease, or renews it. Whether it is ours now. */
  async function hold(signal: AbortSignal): Promise<boolean> {
    const patience = AbortSignal.any([signal, AbortSignal.timeout(times.deadlineMs)]);
    try {
      const lease = await read(patience);
      if (lease === undefined) return await write(undefined, patience);
      return isFree(lease) ? await write(lease, patience) : false;
    } catch (error) {
      // Another replica was faster.
      if (hasCode(error, 'ERR_KUBE_CONFLICT')) return false;
      throw error;
    }
  }

  async function read(signal: AbortSignal): Promise<Lease | undefined> {
    try {
      return await client.call<Lease>({ path }, signal);
    } catch (error) {
      if (hasCode(error, 'ERR_KUBE_NOT_FOUND')) return undefined;
      throw error;
    }
  }

  function isFree({ metadata: { resourceVersion = '' }, spec = {} }: Lease): boolean {
    const { holderIdentity = '', leaseDurationSeconds } = spec;
    const leaseMs = leaseDurationSeconds === undefined ? times.leaseMs : leaseDurationSeconds * 1000;
    const since = resourceVersion === seen.version ? seen.since : performance.now();
    seen = { version: resourceVersion, since, isHeld: holderIdentity !== '', leaseMs };
    return !seen.isHeld || holderIdentity === identity || isOver();
  }

  function isOver(): boolean {
    return performance.now() - seen.since > seen.leaseMs;
  }

  async function write(lease: Lease | undefined, signal: AbortSignal): Promise<boolean> {
    const now = microTime();
    const isNew = lease?.spec?.holderIdentity !== identity;
    const spec = {
      holderIdentity: identity,
      leaseDurationSeconds: Math.ceil(times.leaseMs / 1000),
      renewTime: now,
      acquireTime: isNew ? now : (lease?.spec?.acquireTime ?? now),
      leaseTransitions: (lease?.spec?.leaseTransitions ?? 0) + (isNew && lease !== undefined ? 1 : 0),
    };
    await client.call(lease === undefined ? create(spec) : replace(lease, spec), signal);
    return true;
  }

  function create(spec: Lease['spec']) {
    const { namespace, name } = options;
    const body = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', metadata: { name, namespace }, spec };
    return { method: 'POST', path: folder, body } as const;
  }

  function replace(lease: Lease, spec: Lease['spec']) {
    return { method: 'PUT', path, body: { ...lease, spec } } as const;
  }

  function extendTerm(since: number): void {
    const leftMs = since + times.deadlineMs - performance.now();
    if (term !== undefined) clearTimeout(term.deadline);
    else {
      const ending = new AbortController();
      log.info('This replica leads', { lease: options.name, identity });
      const done = deps.lead(ending.signal).catch((error: unknown) => {
        if (!ending.signal.aborted) log.error('The leader failed: this is a bug in miroir', { error });
      });
      term = { ending, done, deadline: setTimeout(() => {}, 0) };
    }
    term.deadline = setTimeout(() => void endTerm(), leftMs);
  }

  async function endTerm(): Promise<void> {
    if (term === undefined) return;
    const { ending, done, deadline } = term;
    term = undefined;
    clearTimeout(deadline);
    ending.abort();
    log.info('This replica leads no more', { lease: options.name, identity });
    await done;
  }

  /** So that the next one need not wait. */
  async function release(): Promise<void> {
    const signal = AbortSignal.timeout(times.renewMs);
    const lease = await read(signal);
    if (lease?.spec?.holderIdentity !== identity) return;
    await client.call(replace(lease, { ...lease.spec, holderIdentity: '', leaseDurationSeconds: 1 }), signal);
  }

  return {
    ...loop,
    stop: async () => {
      await loop.stop();
      const wasLeader = term !== undefined;
      await endTerm();
      if (wasLeader) await release().catch(() => {}); // It runs out by itself.
    },
    isLeader: () => term !== undefined,
    hasLeader: () => term !== undefined || (seen.isHeld && !isOver()),
  };
}

/** As Kubernetes writes MicroTime. */
function microTime(): string {
  return new Date().toISOString().replace('Z', '000Z');
}
