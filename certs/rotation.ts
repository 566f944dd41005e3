/** What to do about certificates, decided from what is there and the time: no clock, no network, no randomness. */

/** An authority, as far as decisions need it. */
export interface AuthorityView {
  /** Its fingerprint. */
  readonly id: string;
  readonly expires: Date;
}

/**
 * The authorities that are kept. A rotation goes through all three: `next` is trusted before anything is signed with it,
 * and `previous` is trusted for as long as somebody may still show what it signed.
 */
export interface Authorities<A> {
  readonly current: A;
  /** `published`: when all were seen to trust it; undefined until then. */
  readonly next?: { readonly authority: A; readonly published: Date | undefined } | undefined;
  readonly previous?: { readonly authority: A; readonly retired: Date } | undefined;
}

export interface RotationState {
  /** Undefined when none are kept, or none that are of use. */
  readonly authorities: Authorities<AuthorityView> | undefined;
  /** Somebody wants a new authority now. */
  readonly isAsked: boolean;
  /** The ids that each webhook trusts; undefined when there is nowhere to publish to. */
  readonly trusted: readonly ReadonlySet<string>[] | undefined;
  /** What this replica shows; undefined before the first. */
  readonly leaf: { readonly authority: string; readonly expires: Date } | undefined;
}

export interface RotationTimes {
  readonly authorityMs: number;
  readonly leafMs: number;
  /** Between the moment when a new authority is seen to be trusted, and its first use: every apiserver knows it by then. */
  readonly overlapMs: number;
  /** Between the last use of an authority by who noticed first, and the end of the trust in it. */
  readonly retireMs: number;
}

export type RotationStep =
  | { readonly do: 'create-authority' | 'add-next' | 'confirm-next' | 'promote-next' | 'drop-previous' | 'issue-leaf' }
  | { readonly do: 'publish'; readonly trust: readonly string[] }
  | { readonly do: 'rest' };

const DAY_MS = 86_400_000;

export const ROTATION_TIMES: RotationTimes = {
  authorityMs: 365 * DAY_MS,
  leafMs: 30 * DAY_MS,
  // Apiservers follow configurations by a watch, and hear of a change within a second when all is well.
  overlapMs: 60_000,
  // Every replica looks again within seconds; one that hangs for longer than this is not answering anybody.
  retireMs: 10 * 60_000,
};

/** What is renewed is renewed when a third of its time is left. */
const LEFT = 1 / 3;

/**
 * The one thing to do next. Each step brings the state nearer to rest, and any replica may do it: those that change
 * something shared are made so that the second one fails, and looks again.
 */
export function decideRotation(state: RotationState, times: RotationTimes, now: Date): RotationStep {
  const { authorities, trusted, leaf } = state;
  if (authorities === undefined) return { do: 'create-authority' };
  const { current, next, previous } = authorities;
  const isExpired = ({ expires }: { readonly expires: Date }) => expires <= now;
  const isDue = ({ expires }: { readonly expires: Date }, lifeMs: number) =>
    expires.getTime() - now.getTime() <= lifeMs * LEFT;
  // Trust in it is worth nothing any more, so there is nothing to wait for.
  if (isExpired(current)) return { do: next && !isExpired(next.authority) ? 'promote-next' : 'create-authority' };
  if (leaf === undefined) return { do: 'issue-leaf' };

  const trust = [current, next?.authority, previous?.authority].filter((one) => one !== undefined).map(({ id }) => id);
  const isTrusted = trusted?.every((ids) => ids.size === trust.length && trust.every((id) => ids.has(id))) ?? true;
  if (!isTrusted) return { do: 'publish', trust };
  // A leaf does not outlive its authority, so it can be due again at once: then it is the authority's turn.
  const leafMs = Math.min(times.leafMs, current.expires.getTime() - now.getTime());
  if (leaf.authority !== current.id || isDue(leaf, leafMs)) return { do: 'issue-leaf' };

  if (next !== undefined) {
    if (trusted === undefined) return { do: 'rest' };
    const trustedMs = next.published && now.getTime() - next.published.getTime();
    // A moment in the future was written by a clock that went wrong: waiting for it could take for ever.
    if (trustedMs === undefined || trustedMs < -times.overlapMs) return { do: 'confirm-next' };
    return { do: trustedMs >= times.overlapMs ? 'promote-next' : 'rest' };
  }
  if (previous !== undefined) {
    const retiredMs = now.getTime() - previous.retired.getTime();
    return { do: retiredMs >= times.retireMs || isExpired(previous.authority) ? 'drop-previous' : 'rest' };
  }
  return { do: state.isAsked || isDue(current, times.authorityMs) ? 'add-next' : 'rest' };
}
