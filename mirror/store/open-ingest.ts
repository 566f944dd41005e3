import { fstatSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import type { Digest } from '../../common/oci/digest.ts';
import { identify, openFile } from './ingest-files.ts';
import type { OpenIngest } from './store.ts';

/** What is followed, by all who follow it. */
export interface IngestSource {
  readonly digest: Digest;
  readonly sizeBytes: number;
  /** Whether more may come. */
  readonly isLive: () => boolean;
  /** Called at every sign of a change. */
  readonly listeners: Set<() => void>;
  /** Whether the system tells of changes. */
  readonly isWatched: () => boolean;
}

export function wakeAll({ listeners }: IngestSource): void {
  for (const wake of listeners) wake();
}

/** The system promises to tell of every write; a pull's life does not hang on that promise. */
const BACKSTOP_MS = 250;
/** Where the system has no watch to give (inotify's limits), a follower is late by half of this on average. */
const POLL_MS = 20;

/** Opens the file for one who follows it; undefined when it is not there any more, or is another than `identity` says. */
export async function openIngest(
  source: IngestSource,
  name: string,
  identity: string,
): Promise<OpenIngest | undefined> {
  const file = await openFile(name);
  if (file === undefined) return undefined;
  try {
    if (identify(fstatSync(file.fd, { bigint: true })) === identity) return createOpenIngest(source, file);
  } catch (error) {
    await file.close();
    throw error;
  }
  await file.close();
  return undefined;
}

/** Follows the file of an ingest, through its rename when it is committed. Nothing but the file itself is believed. */
function createOpenIngest(source: IngestSource, file: FileHandle): OpenIngest {
  const { digest, sizeBytes } = source;
  // Of an open file the kernel answers from memory, in microseconds; by way of a thread it is ten times the work.
  const look = () => {
    const { size, nlink } = fstatSync(file.fd);
    return { availableBytes: Math.min(size, sizeBytes), isUnlinked: nlink === 0 };
  };
  const { availableBytes } = look();

  return {
    digest,
    sizeBytes,
    availableBytes,
    file,
    async grown(offset, signal) {
      for (;;) {
        signal.throwIfAborted();
        const change = awaitChange(source, signal); // Before looking, so that nothing falls in between.
        try {
          const mayGrow = source.isLive();
          const now = look();
          if (now.availableBytes > offset || now.availableBytes === sizeBytes) return now.availableBytes;
          if (now.isUnlinked || !mayGrow) return 'aborted';
          await change.happened;
        } finally {
          change.forget();
        }
      }
    },
  };
}

function awaitChange(source: IngestSource, signal: AbortSignal) {
  const { promise: happened, resolve } = Promise.withResolvers<void>();
  const wake = () => resolve();
  const timer = setTimeout(wake, source.isWatched() ? BACKSTOP_MS : POLL_MS);
  source.listeners.add(wake);
  signal.addEventListener('abort', wake, { once: true });
  return {
    happened,
    forget: () => {
      clearTimeout(timer);
      source.listeners.delete(wake);
      signal.removeEventListener('abort', wake);
    },
  };
}
