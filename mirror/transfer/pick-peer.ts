import type { Provider } from '../swarm/router.ts';

/** What this node remembers of a peer. */
export interface Standing {
  /** Grows with each fault and fades; 0 for a peer without one. */
  readonly penalty: number;
  /** Transfers from it that are running now. */
  readonly inFlight: number;
  readonly isBanned: boolean;
}

/** A peer with more than this is left alone until it has faded. One slip is forgiven; a broken transfer is not at once. */
const PENALTY_MAX = 2;

/**
 * The order in which to ask providers: those without faults first, then those that do least for this node now, then by
 * chance, so that the nodes of a cluster spread over the holders. Those that would likely fail are left out.
 */
export function orderPeers(
  providers: readonly Provider[],
  standing: (provider: Provider) => Standing,
  random: () => number,
): Provider[] {
  return providers
    .map((provider) => ({ provider, ...standing(provider), tie: random() }))
    .filter(({ isBanned, penalty }) => !isBanned && penalty <= PENALTY_MAX)
    .sort((a, b) => faultClass(a.penalty) - faultClass(b.penalty) || a.inFlight - b.inFlight || a.tie - b.tie)
    .map(({ provider }) => provider);
}

/** Whether a peer that others name is worth a try: one that failed within half a minute would be tried again and again. */
export function isAble({ isBanned, penalty }: Standing): boolean {
  return !isBanned && penalty < 0.5;
}

/** Fading must not order peers by when they failed: what counts is whether it was lately. */
function faultClass(penalty: number): number {
  return penalty < 0.25 ? 0 : Math.ceil(penalty);
}
