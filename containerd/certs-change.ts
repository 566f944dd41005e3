import fs from 'node:fs/promises';
import path from 'node:path';
import { MiroirError } from '../common/errors.ts';
import { type CertsFolder, type HostsOnDisk, removeEmptyFolder, removeFile, replaceFile } from './certs-d.ts';
import { type StrippedText, stripBlocks } from './hosts-block.ts';

/** What was done to a registry's hosts.toml; `restored` is as it was before Miroir came, `removed` was not there then. */
export interface CertsChange {
  /** As image names spell it, or `_default`. */
  readonly registry: string;
  readonly file: string;
  readonly action: 'created' | 'merged' | 'unchanged' | 'removed' | 'restored';
}

/** A change that is decided and not yet made. */
export interface PlannedChange extends CertsChange {
  readonly realPath: string;
  readonly before: HostsOnDisk | undefined;
  /** Undefined when the file goes. */
  readonly bytes: Buffer | undefined;
  /** Folders that go with the file when they are empty, the innermost first. */
  readonly folders: readonly string[];
}

/** The folder's hosts.toml without us, byte by byte: each character of the text is one byte. */
export function stripHosts(folder: CertsFolder): StrippedText {
  if (folder.hosts === undefined) return { base: '', marks: undefined };
  return stripBlocks(folder.hosts.bytes.toString('latin1'), path.join(folder.path, 'hosts.toml'));
}

/** Takes us out of a folder; undefined when we are not in it. */
export function planRemoval(folder: CertsFolder): PlannedChange | undefined {
  const { base, marks } = stripHosts(folder);
  if (marks === undefined) return undefined;
  const isGone = marks.isFileMade && base === '';
  const folders: string[] = [];
  for (let at = folder.path; isGone && folders.length < marks.foldersMade; at = path.dirname(at)) folders.push(at);
  return {
    registry: folder.registry ?? folder.name,
    file: path.join(folder.path, 'hosts.toml'),
    action: isGone ? 'removed' : 'restored',
    realPath: folder.realHostsPath,
    before: folder.hosts,
    bytes: isGone ? undefined : Buffer.from(base, 'latin1'),
    folders,
  };
}

export async function applyChanges(changes: readonly PlannedChange[]): Promise<readonly CertsChange[]> {
  for (const { action, file, realPath, before, bytes } of changes) {
    if (action === 'unchanged') continue;
    if (bytes === undefined) {
      await removeFile(realPath);
    } else {
      if (before === undefined) await fs.mkdir(path.dirname(file), { recursive: true });
      await replaceFile(realPath, bytes, before);
    }
  }
  const emptied = new Set(changes.flatMap(({ folders }) => folders));
  for (const folder of [...emptied].sort((a, b) => b.length - a.length)) await removeEmptyFolder(folder);
  return changes.map(({ registry, file, action }) => ({ registry, file, action }));
}

/** Runs what reads and writes certs.d, and names the folder when the system says no. */
export async function withCertsDir<T>(certsDir: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    if (error instanceof MiroirError || !(error instanceof Error) || !('errno' in error)) throw error;
    const message = `${certsDir} cannot be read and written (${error.message}): mount it writable, and run as root`;
    throw new MiroirError('ERR_CERTS_DIR_INACCESSIBLE', message, { cause: error });
  }
}
