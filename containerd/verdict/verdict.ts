/**
 * What a node's containerd does with a mirror. `compatible`: it asks the mirror, and keeps what others can pull from it.
 * `incompatible`: it does not. `unknown`: what could be read does not tell.
 */
export interface Verdict {
  readonly result: VerdictResult;
  /** As containerd tells it; undefined when it did not answer. */
  readonly containerd: string | undefined;
  readonly distribution: string | undefined;
  /** What weighs most first. Notes may stand beside any result. */
  readonly reasons: readonly Reason[];
}

export type VerdictResult = 'compatible' | 'incompatible' | 'unknown';

export interface Reason {
  readonly code: ReasonCode;
  /** What it does to the result; a note does nothing. */
  readonly weighs: 'incompatible' | 'unknown' | 'note';
  readonly sentence: string;
  readonly evidence: readonly EvidenceItem[];
  /** What to do, in the words of the node's distribution where it is known; undefined where there is nothing to do. */
  readonly fix: string | undefined;
}

/** Where something was seen: a line of a file, or what containerd itself says or does. */
export interface EvidenceItem {
  readonly source: 'file' | 'default' | 'status' | 'introspection' | 'probe' | 'content';
  readonly file?: string;
  readonly line?: number;
  /** As containerd understands it. */
  readonly value?: string;
}

export type ReasonCode =
  | 'config-differs'
  | 'config-invalid'
  | 'config-path-elsewhere'
  | 'config-path-empty'
  | 'config-path-list'
  | 'config-refused'
  | 'config-unreadable'
  | 'containerd-unreachable'
  | 'cri-not-loaded'
  | 'fault'
  | 'layers-discarded'
  | 'layers-gone-before'
  | 'layers-unproven'
  | 'mirrors-beside-config-path'
  | 'not-judged'
  | 'not-restarted'
  | 'path-unproven'
  | 'probe-failed'
  | 'probe-not-reached'
  | 'remote-snapshotter'
  | 'section-not-read'
  | 'section-replaced'
  | 'version-unknown';
