import type { Provider } from '../swarm/router.ts';

/** What this node remembers of a peer. */
export interface Standing {
  /** Grows with each fault and fades; 0 for a peer without one. */
  readonly penalty: number;
  /** Transfers from it that are running now. */
  readonly inFlight: number;
  readonly isBanned: boolean;
  /** How fast it sent lately; undefined when it did not. */
  readonly bytesPerSecond: number | undefined;
}

/** Less of a difference comes and goes with what else a network carries. */
export const FASTER_FACTOR = 3;

/** What a peer of which nothing is known is taken for: registries are about as fast, so that one three times slower lets it be tried. */
const UNKNOWN_BYTES_PER_SECOND = 30_000_000;

/** A peer with more than this is left alone until it has faded. One slip is forgiven; a broken transfer is not at once. */
const PENALTY_MAX = 2;

/**
 * The order in which to ask providers: those without faults first, those that sent several times slower than
 * another one last among them, then those that do least for this node now, then by
 * chance, so that the nodes of a cluster spread over the holders. Those that would likely fail are left out.
 */
export function orderPeers(
  providers: readonly Provider[],
  standing: (provider: Provider) => Standing,
  random: () => number,
): Provider[] {
  const able = providers
    .map((provider) => ({ provider, ...standing(provider), tie: random() }))
    .filter(({ isBanned, penalty }) => !isBanned && penalty <= PENALTY_MAX);
  const best = Math.max(0, ...able.map(likelyRate));
  const isSlow = ({ bytesPerSecond = best }: Standing) => Number(bytesPerSecond * FASTER_FACTOR < best);
  return able
    .sort(
      (a, b) =>
        faultClass(a.penalty) - faultClass(b.penalty) ||
        isSlow(a) - isSlow(b) ||
        a.inFlight - b.inFlight ||
        a.tie - b.tie,
    )
    .map(({ provider }) => provider);
}

/** Who of those that have it is likely to send several times as fast; undefined for nobody. */
export function fasterPeer(
  bytesPerSecond: number,
  candidates: readonly Provider[],
  standing: (provider: Provider) => Standing,
): Provider | undefined {
  return fastest(candidates, standing, (one) => likelyRate(one) > bytesPerSecond * FASTER_FACTOR);
}

/** Who of those that have it may send in turns with one that is slow: the likely fastest that sends this node nothing, and is not much slower. */
export function secondPeer(
  bytesPerSecond: number,
  candidates: readonly Provider[],
  standing: (provider: Provider) => Standing,
): Provider | undefined {
  const mayHelp = (one: Standing) => one.inFlight === 0 && likelyRate(one) * FASTER_FACTOR > bytesPerSecond;
  return fastest(candidates, standing, mayHelp);
}

function fastest(
  candidates: readonly Provider[],
  standing: (provider: Provider) => Standing,
  isWanted: (one: Standing) => boolean,
): Provider | undefined {
  const [best] = candidates
    .map((provider) => ({ provider, ...standing(provider) }))
    .filter((one) => isAble(one) && isWanted(one))
    .sort((a, b) => likelyRate(b) - likelyRate(a));
  return best?.provider;
}

function likelyRate({ bytesPerSecond = UNKNOWN_BYTES_PER_SECOND }: Standing): number {
  return bytesPerSecond;
}

/** Whether a peer that others name is worth a try: one that failed within half a minute would be tried again and again. */
export function isAble({ isBanned, penalty }: Pick<Standing, 'isBanned' | 'penalty'>): boolean {
  return !isBanned && penalty < 0.5;
}

/** Fading must not order peers by when they failed: what counts is whether it was lately. */
function faultClass(penalty: number): number {
  return penalty < 0.25 ? 0 : Math.ceil(penalty);
}
