/** The words for what was decided about a pod: the same in audit annotations, the pod's annotations, Events and metrics. */

/**
 * - `block`: not on nodes that are known to be incompatible.
 * - `require`: only on nodes that are known to be compatible.
 * - `prefer`: rather on compatible nodes.
 * - `wait`: rather on compatible nodes, and not before the mirror is ready.
 * - `off`: anywhere.
 */
export const GATE_MODES = ['block', 'require', 'prefer', 'wait', 'off'] as const;
export type GateMode = (typeof GATE_MODES)[number];

/** `bypassed`: more was asked for than can be had now, and became `prefer`. */
export type GateApplied = GateMode | 'bypassed';

/** Why it is bypassed, or `wait` is. */
export const BYPASS_REASONS = [
  'no-compatible-node',
  'nodes-unknown', // They were not listed yet.
  'too-many-incompatible',
  'nobody-lifts', // No replica leads, or Miroir may not change pods: what waits would wait for ever.
] as const;
export type BypassReason = (typeof BYPASS_REASONS)[number];

/**
 * Why a pod that waited waits no more: a node with a mirror is ready, or it was enough. Both are words of metrics and logs, the
 * second of an Event too.
 */
export type LiftReason = 'ready' | 'timeout';

/**
 * What was made of the wish for an agent in the pod.
 * - `injected`: it is there.
 * - `host-network`: the pod is on the node's network, where the mirror itself is at the address that an agent would have.
 * - `name-taken`, `port-taken`: a container, volume or port of the pod is in its place.
 * - `no-service-account`: without one there is no token for the pod. Where Kubernetes gives every pod one, none is without.
 * - `not-offered`: mirrors do not serve pods here.
 */
export const SIDECARS_APPLIED = [
  'injected',
  'host-network',
  'name-taken',
  'port-taken',
  'no-service-account',
  'not-offered',
] as const;
export type SidecarApplied = (typeof SIDECARS_APPLIED)[number];

/** Why a pod is left as it is. */
export type SkipReason =
  | 'daemonset' // It must run on its node, mirror or not; a selector of ours could make it be created in a loop.
  | 'mirror-pod' // The kubelet shows with it what already runs.
  | 'node-name-set' // It is scheduled already.
  | 'not-a-new-pod'
  | 'not-opted-in'
  | 'opted-out'
  | 'our-own'
  | 'system-critical'
  | 'too-large' // It might not fit any more with what is added.
  | 'windows';

/** Why a pod was let through although it should have been looked at. */
export const FAIL_REASONS = ['fault', 'namespace-unknown', 'pod-invalid', 'review-invalid'] as const;
export type FailReason = (typeof FAIL_REASONS)[number];

export type Decision =
  | {
      readonly outcome: 'admitted';
      readonly gate: GateApplied;
      /** Of pods that asked for one. */
      readonly sidecar?: SidecarApplied;
    }
  | { readonly outcome: 'skipped'; readonly reason: SkipReason }
  | { readonly outcome: 'failed'; readonly reason: FailReason };
