import { hasCode } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { LiftReason } from '../decision.ts';
import type { KubeClient } from '../kube/client.ts';
import { SCHEDULING_GATE } from '../labels.ts';
import { eachAtOnce } from './each-at-once.ts';
import type { RecordEvent } from './events.ts';
import type { GatePod, Pods } from './pods.ts';

export interface LiftGatesDeps {
  readonly client: Pick<KubeClient, 'call'>;
  readonly pods: Pick<Pods, 'held'>;
  /** Whether a pod would find a node with a mirror that works. */
  readonly isAnyReady: () => boolean;
  readonly recordEvent: RecordEvent;
  readonly metrics: LiftGatesMetrics;
  readonly log: Logger;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
  /** Milliseconds since 1970, of a clock that may jump. */
  readonly wallNow: () => number;
}

export interface LiftGatesMetrics {
  lifted(reason: LiftReason): void;
}

export interface GateLifter {
  /** Lets go all that need not wait any longer. Throws what the client throws when it is not let do so. */
  round(signal: AbortSignal): Promise<void>;
}

/** Of the client's connections. */
const WRITES_AT_ONCE = 4;

/**
 * Why to let a pod go now; undefined to let it wait. Two clocks count: a leader that is new has not seen it for long, and one whose
 * clock is wrong must not hold it. Whichever says first that it is enough is believed.
 */
export function decideLift(
  waitedMs: number,
  ageMs: number,
  isAnyReady: boolean,
  timeoutMs: number,
): LiftReason | undefined {
  if (isAnyReady) return 'ready';
  return waitedMs >= timeoutMs || ageMs >= timeoutMs ? 'timeout' : undefined;
}

/** Takes our scheduling gate off a pod. Whether there was one: the pod may be gone, or be another by now. */
export async function liftGate(
  client: Pick<KubeClient, 'call'>,
  { namespace, name, uid }: Pick<GatePod, 'namespace' | 'name' | 'uid'>,
  signal: AbortSignal,
): Promise<boolean> {
  // Gates are merged by their names: those of others stay.
  const schedulingGates = [{ $patch: 'delete', name: SCHEDULING_GATE }];
  const body = { metadata: { uid }, spec: { schedulingGates } };
  const path = `/api/v1/namespaces/${namespace}/pods/${encodeURIComponent(name)}`;
  try {
    await client.call({ method: 'PATCH', path, body, contentType: 'application/strategic-merge-patch+json' }, signal);
    return true;
  } catch (error) {
    if (hasCode(error, 'ERR_KUBE_NOT_FOUND') || hasCode(error, 'ERR_KUBE_CONFLICT')) return false;
    throw error;
  }
}

/** Lifts the scheduling gates of pods of mode `wait`. */
export function createGateLifter(deps: LiftGatesDeps, timeoutMs: number): GateLifter {
  const { client, pods, isAnyReady, recordEvent, metrics, log, now, wallNow } = deps;
  let firstSeen = new Map<string, number>();

  async function lift(pod: GatePod, reason: LiftReason, signal: AbortSignal): Promise<void> {
    if (!(await liftGate(client, pod, signal))) return;
    const { namespace, name, uid } = pod;
    metrics.lifted(reason);
    log.info('Pod waits no more', { namespace, pod: name, reason });
    if (reason !== 'timeout') return;
    const subject = { apiVersion: 'v1', kind: 'Pod', namespace, name, uid } as const;
    const message = `no node with a mirror was ready within ${timeoutMs / 1000} s: the pod waits no more`;
    await recordEvent(subject, { type: 'Warning', reason, message }, signal);
  }

  return {
    round: async (signal) => {
      const seen = new Map<string, number>();
      const plans = pods.held().flatMap((pod) => {
        const since = firstSeen.get(pod.uid) ?? now();
        seen.set(pod.uid, since);
        const reason = decideLift(now() - since, wallNow() - pod.createdAt, isAnyReady(), timeoutMs);
        return reason === undefined ? [] : [{ pod, reason }];
      });
      firstSeen = seen;
      await eachAtOnce(plans, WRITES_AT_ONCE, ({ pod, reason }) => lift(pod, reason, signal));
    },
  };
}
