import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository, TagReference } from '../../common/oci/reference.ts';
import type { Named, Readers } from '../access/known-rights.ts';
import type { TagRecord } from '../store/store.ts';

/** A blob or a manifest, and where the client that wants it says that it comes from. */
export interface ContentRequest {
  readonly kind: 'blob' | 'manifest';
  readonly digest: Digest;
  readonly registry?: Registry;
  readonly repository: Repository;
}

/** What a peer says about content before it sends any. */
export interface PeerHead {
  /** The whole content's length, also when a range was asked for. */
  readonly sizeBytes: number;
  /** What the body will be: from `start` to `end`, not inclusive. */
  readonly start: number;
  readonly end: number;
}

/** A body on its way. Of `pipe` and `cancel` one is called, or both; after `cancel` nothing is called back. */
export interface PeerBody {
  readonly head: PeerHead;
  pipe(receiver: BodyReceiver): void;
  /** Drops the body, and the connection with it unless the body is complete. Safe at any time, and twice. */
  cancel(): void;
}

export interface BodyReceiver {
  /**
   * The next bytes. The memory belongs to the receiver until it calls `release`, once. As only a few buffers exist, a
   * receiver that releases none stops the peer: that is all the backpressure there is.
   */
  chunk(bytes: Uint8Array, release: () => void): void;
  /** All bytes of `head.start` to `head.end` were handed over. */
  end(): void;
  /** The peer stopped, broke the protocol or was too slow. ERR_PEER_UNAVAILABLE or ERR_PEER_MISBEHAVED. */
  failed(error: Error): void;
}

/**
 * Asks other mirrors. Every call throws ERR_CONTENT_NOT_FOUND when the peer says that it does not have it,
 * ERR_PEER_BUSY when it sends the same to enough others, ERR_PEER_UNAVAILABLE when it cannot be reached or is too slow, ERR_PEER_MISBEHAVED when what it says is not
 * HTTP, or not the answer to the question, and ERR_ABORTED after the signal.
 */
export interface PeerClient {
  /** Resolves when the head is there and is what was asked for. */
  get(
    address: string,
    request: ContentRequest,
    start: number,
    end: number | undefined,
    signal: AbortSignal,
  ): Promise<PeerBody>;
  /** The content's size. */
  head(address: string, request: ContentRequest, signal: AbortSignal): Promise<number>;
  /** What the peer knows the tag by, in this node's time. */
  headTag(address: string, tag: TagReference, signal: AbortSignal): Promise<TagRecord>;
  /** Who may read a manifest, as far as the peer knows. */
  headReaders(address: string, content: Named, signal: AbortSignal): Promise<Readers | undefined>;
  /** Closes every connection. */
  close(): void;
}
