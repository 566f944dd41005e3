import type { ByteRange } from '../../common/http/range.ts';
import type { Logger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { OpenContent } from '../store/store.ts';
import type { BodySink } from './body-sink.ts';
import type { BufferPool } from './buffer-pool.ts';
import type { KernelCopy } from './kernel-copy.ts';
import type { ReadNow } from './read-now.ts';
import type { RelayedContent } from './run-relay.ts';
import { type SendOutcome, sendFile } from './send-file.ts';

export type Source = 'local' | 'peer';

export interface FoundSize {
  readonly sizeBytes: number;
  readonly source: Source;
  /** The address of who has it, when this node does not. */
  readonly peer?: string;
}

/** A blob that can be sent. Its `send` is called once, or its `close` is. */
export interface FoundBlob extends FoundSize {
  readonly digest: Digest;
  /** Sends the bytes that were asked for; the range is of the whole when none was. */
  send(range: ByteRange, sink: BodySink): Promise<SendOutcome>;
  close(): Promise<void>;
}

/** What files of this node are sent with. */
export interface BlobDeps {
  readonly pool: BufferPool;
  readonly kernelCopy: KernelCopy | undefined;
  readonly readNow: ReadNow | undefined;
  readonly log: Logger;
}

export function localBlob(
  { pool, kernelCopy, readNow, log }: BlobDeps,
  { digest, sizeBytes, file }: OpenContent,
): FoundBlob {
  const failed = (error: unknown) => log.warn('content could not be read to its end', { digest, error });
  return {
    digest,
    sizeBytes,
    source: 'local',
    send: async (range, sink) => {
      try {
        return await sendFile({ pool, kernelCopy, readNow, failed }, { file }, range, sink);
      } finally {
        await file.close();
      }
    },
    close: () => file.close(),
  };
}

export function relayedBlob(digest: Digest, content: RelayedContent): FoundBlob {
  const peer = content.sources()[0]?.address;
  return {
    digest,
    sizeBytes: content.sizeBytes,
    source: 'peer',
    ...(peer !== undefined && { peer }),
    send: (_range, sink) => content.send(sink),
    close: async () => content.cancel(),
  };
}
