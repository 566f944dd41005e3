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

export type StoreEvent =
  | { readonly type: 'content-created'; readonly digest: Digest }
  | { readonly type: 'content-deleted'; readonly digest: Digest }
  | { readonly type: 'tag-created' | 'tag-updated'; readonly tag: TagReference; readonly record: TagRecord }
  | { readonly type: 'tag-deleted'; readonly tag: TagReference }
  /** All that was held at the start has been told; what follows are changes. Comes once in a watch. */
  | { readonly type: 'listed' };

/**
 * What this node holds: complete content by digest, and the tags of its images. It only reads, and answers at once from
 * what there is; it never waits for content to arrive.
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
}
