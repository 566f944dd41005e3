import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { type Digest, digestHex } from '../../common/oci/digest.ts';

/** A content root of containerd's, changed in the steps in which containerd changes it (plugins/content/local). */
export interface IngestFolder {
  readonly root: string;
  /** What the folder of an ingest is called. */
  readonly idOf: (ref: string) => string;
  readonly folderOf: (ref: string) => string;
  /** Makes everything but `data`; a total of undefined makes no file of it. */
  readonly prepare: (ref: string, total: string | undefined) => Promise<void>;
  /** Opens the writer: makes `data` if it is not there. */
  readonly open: (ref: string) => Promise<void>;
  readonly append: (ref: string, bytes: Uint8Array) => Promise<void>;
  /** Puts the ingest down, to be taken up again or not. */
  readonly close: (ref: string) => Promise<void>;
  readonly commit: (ref: string, digest: Digest) => Promise<void>;
  readonly abort: (ref: string) => Promise<void>;
}

export function layerRef(digest: Digest, namespace = 'k8s.io'): string {
  return `${namespace}/1/layer-${digest}`;
}

export async function createIngestFolder(t: TestContext): Promise<IngestFolder> {
  const root = await fs.mkdtemp(path.join(os.tmpdir(), 'miroir-ingests-'));
  t.after(() => fs.rm(root, { recursive: true, force: true }));
  const blobs = path.join(root, 'blobs/sha256');
  await fs.mkdir(blobs, { recursive: true });
  const idOf = (ref: string) => createHash('sha256').update(ref, 'latin1').digest('hex');
  const folderOf = (ref: string) => path.join(root, 'ingest', idOf(ref));
  const stamp = async (ref: string, name: string) => {
    const target = path.join(folderOf(ref), name);
    await fs.writeFile(`${target}.tmp`, new Date().toISOString());
    await fs.rename(`${target}.tmp`, target);
  };

  return {
    root,
    idOf,
    folderOf,
    async prepare(ref, total) {
      await fs.mkdir(folderOf(ref), { recursive: true });
      await fs.writeFile(path.join(folderOf(ref), 'ref'), Buffer.from(ref, 'latin1'));
      await stamp(ref, 'startedat');
      await stamp(ref, 'updatedat');
      if (total !== undefined) await fs.writeFile(path.join(folderOf(ref), 'total'), total);
    },
    open: (ref) => fs.appendFile(path.join(folderOf(ref), 'data'), ''),
    append: (ref, bytes) => fs.appendFile(path.join(folderOf(ref), 'data'), bytes),
    close: (ref) => stamp(ref, 'updatedat'),
    async commit(ref, digest) {
      await fs.rename(path.join(folderOf(ref), 'data'), path.join(blobs, digestHex(digest)));
      await fs.rm(folderOf(ref), { recursive: true });
    },
    abort: (ref) => fs.rm(folderOf(ref), { recursive: true }),
  };
}

/** Content that is not like any other. */
export function makeContent(bytes: number): { readonly bytes: Buffer; readonly digest: Digest } {
  const content = randomBytes(bytes);
  return { bytes: content, digest: `sha256:${createHash('sha256').update(content).digest('hex')}` as Digest };
}
