import type { FileHandle } from 'node:fs/promises';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, TagReference } from '../../common/oci/reference.ts';

/** What this node knows a tag by. */
export interface TagRecord {
  readonly digest: Digest;
  /** When the tag was last resolved at its registry, in milliseconds of this node's clock. */
  readonly resolvedAtMs: number;
}

/** Committed content, open for positional reads. */
export interface OpenContent {
  readonly digest: Digest;
  /** The whole content's length. A file on disk that is shorter never gets this far. */
  readonly sizeBytes: number;
  /** The caller closes it, once. An open handle stays readable when the content is deleted. */
  readonly file: FileHandle;
}

/**
 * Content that is being received, open for positional reads of what has come so far. It is what somebody sent to this node, and
 * nobody has verified it: only its last byte makes its digest right or wrong.
 */
export interface OpenIngest {
  readonly digest: Digest;
  /** What the content will have when it is whole. */
  readonly sizeBytes: number;
  /** What can be read of it: the first so many bytes. */
  readonly availableBytes: number;
  /** The caller closes it, once. It stays readable when the content is committed, and when it is given up. */
  readonly file: FileHandle;
  /**
   * Resolves with how many bytes can be read, once they are more than `offset`, or all there are. Resolves with `aborted` when
   * no more will come: the pull was cancelled, or containerd died. A pull that hangs is for the caller to give up, by the
   * signal: rejects with its reason.
   */
  grown(offset: number, signal: AbortSignal): Promise<number | 'aborted'>;
}

/** Content begins to arrive, or arrives no more: whole, or given up. */
export type IngestEvent =
  | { readonly type: 'ingest-started'; readonly digest: Digest; readonly sizeBytes: number }
  | { readonly type: 'ingest-ended'; readonly digest: Digest; readonly committed: boolean };

export type StoreEvent =
  | { readonly type: 'content-created'; readonly digest: Digest }
  | { readonly type: 'content-deleted'; readonly digest: Digest }
  | { readonly type: 'tag-created' | 'tag-updated'; readonly tag: TagReference; readonly record: TagRecord }
  | { readonly type: 'tag-deleted'; readonly tag: TagReference }
  /** All that was held at the start has been told; what follows are changes. Comes once in a watch. */
  | { readonly type: 'listed' };

/**
 * What this node holds: complete content by digest, the tags of its images, and what is arriving. It only reads, and answers at
 * once from what there is; only `grown` waits for content to arrive.
 */
export interface Store {
  /** Throws ERR_CONTENT_NOT_FOUND when it is not held whole, ERR_CONTENT_CORRUPT when its file is shorter than it should be. */
  open(digest: Digest, signal: AbortSignal): Promise<OpenContent>;
  /** Undefined when no image of this node has the tag. */
  resolve(tag: TagReference, signal: AbortSignal): Promise<TagRecord | undefined>;
  /**
   * The registries that this content was pulled from, as far as is known; empty when unknown.
   * Throws ERR_CONTENT_NOT_FOUND.
   */
  sources(digest: Digest, signal: AbortSignal): Promise<readonly Registry[]>;
  /**
   * Everything held now, as `-created` events, then `listed`, then every change as it happens, until the signal aborts. What happened
   * while the source of events was away is found by listing again, so nothing is missed; an event may come twice. One
   * consumer at a time.
   */
  watch(signal: AbortSignal): AsyncIterable<StoreEvent>;
  /**
   * What a pull of this node is receiving, of a known length; undefined when nothing is. Known while `watch` runs. Just after its
   * commit content is still found here, since `open` may not know it yet: who asks `open` first and then this misses nothing
   * that was seen arriving. What comes and goes within milliseconds, as a manifest does, may not be.
   */
  ingest(digest: Digest, signal: AbortSignal): Promise<OpenIngest | undefined>;
  /** How long what `ingest` would open will be when it is whole. */
  ingestSize(digest: Digest, signal: AbortSignal): Promise<number | undefined>;
  /**
   * Everything that is arriving now, as `ingest-started`, then what starts and ends, as long as `watch` runs, until the signal aborts.
   * What a crash left behind is not arriving until a pull takes it up. To a slow consumer the latest about a digest is told,
   * so an end may come without its start.
   */
  watchIngests(signal: AbortSignal): AsyncIterable<IngestEvent>;
}
