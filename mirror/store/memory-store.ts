import { createHash, randomUUID } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { MiroirError } from '../../common/errors.ts';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import type { Registry, TagReference } from '../../common/oci/reference.ts';
import { contentNotFound } from './blob-files.ts';
import { createIngestNews } from './ingest-news.ts';
import { createInventory } from './inventory.ts';
import { createMemoryIngest, type MemoryIngest } from './memory-ingest.ts';
import type { Store, StoreEvent } from './store.ts';

interface Content {
  readonly bytes: Buffer;
  readonly sources: readonly Registry[];
  /** What is left of the bytes on the pretended disk. */
  readonly keptBytes: number;
}

/** A store that holds what it is told to, for tests of what is built on one. */
export interface MemoryStore extends Store {
  put(bytes: Buffer, sources?: readonly Registry[]): Digest;
  delete(digest: Digest): void;
  /** Makes the content look as if its file had lost its end. */
  truncate(digest: Digest, keptBytes: number): void;
  /** Names an image, as containerd names it. */
  name(image: string, digest: Digest, resolvedAtMs: number): void;
  unname(image: string): void;
  /** Begins to receive content, in place of what of it was being received. */
  receive(digest: Digest, sizeBytes: number): Receiving;
  /** Aborts all that is still being received. */
  abortAll(): void;
}

/** Content that is being received. Its file is kept until it is ended; ending it again does nothing. */
export interface Receiving {
  readonly write: (bytes: Uint8Array) => void;
  /** What was written is held, whole. */
  readonly commit: () => void;
  readonly abort: () => void;
}

export function createMemoryStore(): MemoryStore {
  const contents = new Map<Digest, Content>();
  const inventory = createInventory();
  const news = createIngestNews();
  const arriving = new Map<Digest, MemoryIngest>();
  /** Also those whose place another one took. */
  const receivings = new Set<Receiving>();
  let pending: StoreEvent[] | undefined;
  let wake = () => {};

  function tell(events: readonly StoreEvent[]): void {
    pending?.push(...events);
    wake();
  }

  function find(digest: Digest): Content {
    const content = contents.get(digest);
    if (content === undefined) throw contentNotFound(digest);
    return content;
  }

  return {
    put(bytes, sources = []) {
      const digest = parseDigest(`sha256:${createHash('sha256').update(bytes).digest('hex')}`) as Digest;
      contents.set(digest, { bytes, sources, keptBytes: bytes.length });
      tell(inventory.addContent(digest, bytes.length));
      return digest;
    },
    delete(digest) {
      contents.delete(digest);
      tell(inventory.removeContent(digest));
    },
    truncate(digest, keptBytes) {
      contents.set(digest, { ...find(digest), keptBytes });
      tell(inventory.removeContent(digest));
    },
    name: (name, digest, resolvedAtMs) => tell(inventory.addImage({ name, digest, updatedAtMs: resolvedAtMs })),
    unname: (name) => tell(inventory.removeImage(name)),
    receive(digest, sizeBytes) {
      const ingest = createMemoryIngest(digest, sizeBytes);
      arriving.set(digest, ingest);
      news.started(digest, sizeBytes);
      const end = (committed: boolean) => {
        if (!receivings.delete(receiving)) return;
        const bytes = ingest.end();
        if (arriving.get(digest) === ingest) arriving.delete(digest);
        if (committed) {
          contents.set(digest, { bytes, sources: [], keptBytes: bytes.length });
          tell(inventory.addContent(digest, bytes.length));
        }
        news.ended(digest, committed);
      };
      const receiving: Receiving = {
        write: (bytes) => ingest.write(bytes),
        commit: () => end(true),
        abort: () => end(false),
      };
      receivings.add(receiving);
      return receiving;
    },
    abortAll() {
      for (const receiving of receivings) receiving.abort();
    },

    async open(digest) {
      const { bytes, keptBytes } = find(digest);
      if (keptBytes !== bytes.length) throw new MiroirError('ERR_CONTENT_CORRUPT', `${digest} lost its end`);
      return { digest, sizeBytes: bytes.length, file: await openUnnamed(bytes) };
    },
    resolve: async (tag: TagReference) => inventory.resolve(tag),
    sources: async (digest) => find(digest).sources,
    ingest: async (digest) => arriving.get(digest)?.open(),
    ingestSize: async (digest) => arriving.get(digest)?.sizeBytes,
    watchIngests: (signal) => news.follow(signal),

    async *watch(signal) {
      pending = [...inventory.all(), { type: 'listed' }];
      signal.addEventListener('abort', () => wake(), { once: true });
      while (!signal.aborted) {
        yield* pending.splice(0);
        if (pending.length > 0 || signal.aborted) continue;
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      pending = undefined;
    },
  };
}

/** Readers need a real file handle; the file is gone from its folder before they get it. */
async function openUnnamed(bytes: Buffer): Promise<fs.FileHandle> {
  const name = path.join(os.tmpdir(), `miroir-memory-store-${randomUUID()}`);
  await fs.writeFile(name, bytes, { flag: 'wx', mode: 0o600 });
  try {
    return await fs.open(name, 'r');
  } finally {
    await fs.unlink(name);
  }
}
