import type { VerdictResult } from '../../containerd/verdict/verdict.ts';

/** What a node says of itself in the API. */
export interface NodeView {
  readonly label: string | undefined;
  /** What was written there with the label: undefined when Miroir wrote nothing. */
  readonly told: string | undefined;
}

/** A verdict that was read from a node's mirror. */
export interface SeenVerdict {
  readonly result: VerdictResult;
  /** Of the reason that weighs most; undefined when nothing stands against it. */
  readonly code: string | undefined;
  /** For people. */
  readonly message: string;
}

/** `silent`: there is a mirror, and it does not answer. `gone`: there is none. */
export type Sighting =
  | { readonly kind: 'verdict'; readonly verdict: SeenVerdict }
  | { readonly kind: 'silent' }
  | { readonly kind: 'gone' };

/** What is remembered of a node between two looks. */
export interface NodeMemory {
  /** The last word of its verdict, since when it is the same, and how often it was seen. What is not a verdict does not interrupt it. */
  readonly streak: { readonly result: VerdictResult; readonly since: number; readonly count: number } | undefined;
  /** Since when there is a mirror that does not answer, or none. */
  readonly silentSince: number | undefined;
  readonly goneSince: number | undefined;
}

/** What is to be written to the node, all of it at once. */
export interface NodeChange {
  /** Undefined to take it away. */
  readonly label: string | undefined;
  /** Undefined to take away all that Miroir wrote. */
  readonly told: string | undefined;
  readonly message: string;
}

export interface NodeTimes {
  /** How long a word must stand, and be seen twice, before it changes one that stands already. */
  readonly confirmMs: number;
  /** How long a mirror may be silent before that is told. */
  readonly silenceMs: number;
  /** How long a node may be without a mirror before it is forgotten. */
  readonly forgetMs: number;
}

export const NO_MEMORY: NodeMemory = { streak: undefined, silentSince: undefined, goneSince: undefined };
export const SILENT = 'unknown mirror-silent';

export interface NodeDecision {
  readonly memory: NodeMemory;
  readonly change: NodeChange | undefined;
}

/**
 * What to write to a node after a look at its mirror, if anything. A compatible node that has no label gets it at once, since that takes nothing
 * from anybody. Everything else has to be seen twice, so that a mirror that restarts moves no pods. A verdict `unknown`, and none at all,
 * leave the label as it is. `now` never goes back.
 */
export function decideNode(
  node: NodeView,
  memory: NodeMemory,
  sighting: Sighting,
  now: number,
  times: NodeTimes,
): NodeDecision {
  const next = remember(memory, sighting, now);
  const change = wanted(node, next, sighting, now, times);
  const isWritten = change === undefined || (change.label === node.label && change.told === node.told);
  return { memory: next, change: isWritten ? undefined : change };
}

function remember({ streak, silentSince, goneSince }: NodeMemory, sighting: Sighting, now: number): NodeMemory {
  if (sighting.kind === 'silent') return { streak, silentSince: silentSince ?? now, goneSince: undefined };
  if (sighting.kind === 'gone') return { streak, silentSince: undefined, goneSince: goneSince ?? now };
  const { result } = sighting.verdict;
  const { since, count } = streak?.result === result ? streak : { since: now, count: 0 };
  return {
    streak: { result, since, count: count + 1 },
    silentSince: undefined,
    goneSince: undefined,
  };
}

function wanted(
  node: NodeView,
  { streak, silentSince, goneSince }: NodeMemory,
  sighting: Sighting,
  now: number,
  { confirmMs, silenceMs, forgetMs }: NodeTimes,
): NodeChange | undefined {
  if (sighting.kind === 'gone') {
    // What somebody else wrote on a node that never had a mirror is theirs.
    if (node.told === undefined || now - (goneSince ?? now) < forgetMs) return undefined;
    return { label: undefined, told: undefined, message: 'the node has had no mirror for long' };
  }
  if (sighting.kind === 'silent') {
    if (now - (silentSince ?? now) < silenceMs) return undefined;
    return { label: node.label, told: SILENT, message: 'the mirror of this node does not answer' };
  }
  const { result, code, message } = sighting.verdict;
  const isConfirmed = streak !== undefined && streak.count > 1 && now - streak.since >= confirmMs;
  // The same verdict after a silence, or with another reason, changes no label.
  const isHarmless = result === 'compatible' && (node.label === undefined || node.label === result);
  if (!isConfirmed && !isHarmless) return undefined;
  const told = code === undefined ? result : `${result} ${code}`;
  return { label: result === 'unknown' ? node.label : result, told, message };
}
