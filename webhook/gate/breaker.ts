import type { BypassReason } from '../decision.ts';

export interface NodeCounts {
  readonly compatible: number;
  readonly incompatible: number;
  /** And those with a label that is none of the words. */
  readonly unlabelled: number;
}

/** Why a mode that forbids nodes must not be applied now; undefined when it may. */
export interface Breaker {
  readonly block: BypassReason | undefined;
  readonly require: BypassReason | undefined;
}

/**
 * When to bypass the gate. Pods must run somewhere: where no node is known to be compatible, or where the incompatible ones are
 * more than a share of all (0 to 1), it is likelier that the verdict is wrong, or that nobody has time to mend them, than that all
 * pods may crowd on the rest. As long as no node is incompatible, `block` forbids nothing and stands.
 */
export function judgeBreaker(counts: NodeCounts | undefined, incompatibleShareMax: number): Breaker {
  if (counts === undefined) return { block: 'nodes-unknown', require: 'nodes-unknown' };
  const { compatible, incompatible, unlabelled } = counts;
  const all = compatible + incompatible + unlabelled;
  const none = compatible === 0 ? 'no-compatible-node' : undefined;
  const many = incompatible > incompatibleShareMax * all ? 'too-many-incompatible' : undefined;
  return { block: incompatible === 0 ? undefined : (none ?? many), require: none ?? many };
}
