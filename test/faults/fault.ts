import type { Lab } from '../lab/lab.ts';
import type { LabNode } from '../lab/node.ts';
import type { PushedImage } from '../lab/push.ts';
import type { Upstream } from '../lab/upstream.ts';
import type { Answer } from './faulty-peer.ts';

/** One way in which something goes wrong while nodes pull: a row of the matrix. */
export interface Fault {
  /** For `--only`. */
  readonly name: string;
  /** What goes wrong, as the table says it. */
  readonly title: string;
  /** How much longer than without a mirror the pull may take. */
  readonly boundMs: number;
  /** What the bound is made of. */
  readonly why: string;
  /**
   * Who has the image: the faulty peer, a node that pulled it, a node that is pulling it when the others begin to, or nobody.
   */
  readonly source: 'peer' | 'node' | 'leader' | 'nobody';
  /** How the faulty peer answers; honestly unless told. */
  readonly answer?: (row: Row) => Answer;
  /** How the registry behaves, for the pull without a mirror too. */
  readonly upstream?: (upstream: Upstream) => Promise<void>;
  /** What the pull comes to, if not 'pulled'. */
  readonly outcome?: Outcome;
  /** What the pull without a mirror comes to, if not 'pulled'. */
  readonly without?: Outcome;
  /** Whether `during` happens to the pull without a mirror too. */
  readonly happensWithout?: true;
  /** An hour's difference between the source's clock and the others'. */
  readonly isSourceAhead?: true;
  /** Before the pulls begin, when the source has the image. */
  readonly before?: (row: Row) => Promise<void>;
  /** While they run. */
  readonly during?: (row: Row) => Promise<void>;
  /** Puts right what was broken. */
  readonly after?: (row: Row) => Promise<void>;
}

export type Outcome = 'pulled' | 'fails' | 'fails once' | 'hangs' | 'not run';

/** One fault, and all that it happens to. */
export interface Row {
  readonly lab: Lab;
  /** The node that is the source. */
  readonly other: LabNode;
  readonly cells: readonly Cell[];
  readonly random: () => number;
  readonly signal: AbortSignal;
  /** The source's own pulls, where it is the leader. */
  readonly leading: AbortController;
}

/** One node that pulls an image of its own. */
export interface Cell {
  readonly column: string;
  readonly node: LabNode;
  readonly image: PushedImage;
}

export interface Measured {
  readonly column: string;
  readonly outcome: Outcome;
  readonly without: Outcome;
  /** Over the pull without a mirror; meaningful when both were pulled. */
  readonly extraMs: number;
  /** Of the image's bytes, how much was taken from upstream: 1 is all of it. */
  readonly upstreamShare: number;
  /** What containerd said, when it failed. */
  readonly error?: string;
}
