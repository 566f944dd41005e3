import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { Digest } from '../../common/oci/digest.ts';
import { identify } from './ingest-files.ts';
import { type IngestSource, openIngest, wakeAll } from './open-ingest.ts';
import type { OpenIngest } from './store.ts';

/** Content that arrives as it is told to. */
export interface MemoryIngest extends IngestSource {
  write(bytes: Uint8Array): void;
  /** Nothing more comes; returns what came. Only then is its file gone from its folder: tests end what they begin. */
  end(): Buffer;
  open(): Promise<OpenIngest | undefined>;
}

export function createMemoryIngest(digest: Digest, sizeBytes: number): MemoryIngest {
  const name = path.join(os.tmpdir(), `miroir-memory-ingest-${randomUUID()}`);
  const file = fs.openSync(name, 'wx+', 0o600);
  const identity = identify(fs.fstatSync(file, { bigint: true }));
  let isLive = true;
  const source: IngestSource = { digest, sizeBytes, listeners: new Set(), isLive: () => isLive, isWatched: () => true };
  return {
    ...source,
    write(bytes) {
      fs.writeSync(file, bytes);
      wakeAll(source);
    },
    end() {
      isLive = false;
      const bytes = fs.readFileSync(name);
      fs.closeSync(file);
      fs.unlinkSync(name);
      wakeAll(source);
      return bytes;
    },
    open: async () => (isLive ? openIngest(source, name, identity) : undefined),
  };
}
