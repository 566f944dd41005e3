import { randomBytes } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { MiroirError } from '../common/errors.ts';
import { parseRegistry, type Registry } from '../common/oci/reference.ts';
import type { HostSettings } from './hosts-toml.ts';

/** The folder whose hosts.toml containerd reads for a registry without a folder of its own. */
export const DEFAULT_FOLDER = '_default';

/** A folder that a probe of containerd puts there for a moment: no registry's, and nothing to merge with. */
export const PROBE_FOLDER = /^miroir-probe-[0-9a-f]{12}\.invalid$/;

/** A hosts.toml names a few hosts; a megabyte of them is something else. */
const HOSTS_FILE_BYTES_MAX = 1024 * 1024;

export interface HostsOnDisk {
  /** Where the bytes are, symbolic links followed. */
  readonly realPath: string;
  readonly bytes: Buffer;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/** A folder of certs.d, as containerd sees it. */
export interface CertsFolder {
  readonly name: string;
  /** Undefined for `_default`, and for a folder that no image name leads to. */
  readonly registry: Registry | undefined;
  readonly path: string;
  /** Where a hosts.toml is, or would be put. */
  readonly realHostsPath: string;
  readonly hosts: HostsOnDisk | undefined;
  /** What docker-style certificate files set: containerd reads them when there is no hosts.toml, or an empty one. */
  readonly certificates: HostSettings;
  /** Our temporary files that a crash left here. */
  readonly leftovers: readonly string[];
}

/** What is in certs.d but for probes, sorted; nothing when it is not there. */
export async function listCertsDir(certsDir: string): Promise<readonly string[]> {
  const names = (await orAbsent(fs.readdir(certsDir))) ?? [];
  return names.filter((name) => !PROBE_FOLDER.test(name)).sort();
}

/** Those of the names that are folders. Throws ERR_HOSTS_FILE_INVALID for a hosts.toml that is no file. */
export async function readFolders(
  certsDir: string,
  names: readonly string[],
): Promise<ReadonlyMap<string, CertsFolder>> {
  const folders = new Map<string, CertsFolder>();
  for (const name of names) {
    const folder = path.join(certsDir, name);
    const stat = await orAbsent(fs.stat(folder));
    if (stat?.isDirectory()) folders.set(name, await readFolder(folder));
  }
  return folders;
}

async function readFolder(folder: string): Promise<CertsFolder> {
  const name = path.basename(folder);
  const hostsPath = path.join(folder, 'hosts.toml');
  const realHostsPath = await realHosts(folder, hostsPath);
  const entries = (await fs.readdir(folder)).sort();
  return {
    name,
    registry: registryOf(name),
    path: folder,
    realHostsPath,
    hosts: await readHosts(realHostsPath, hostsPath),
    certificates: certificatesOf(entries),
    leftovers: entries.filter((entry) => LEFTOVER.test(entry)).map((entry) => path.join(folder, entry)),
  };
}

async function realHosts(folder: string, hostsPath: string): Promise<string> {
  const link = await orAbsent(fs.lstat(hostsPath));
  if (link === undefined) return path.join(await fs.realpath(folder), 'hosts.toml');
  const real = await orAbsent(fs.realpath(hostsPath));
  if (real !== undefined) return real;
  throw new MiroirError('ERR_HOSTS_FILE_INVALID', `${hostsPath}:1 is a symbolic link to a file that is not there`);
}

async function readHosts(realPath: string, shownPath: string): Promise<HostsOnDisk | undefined> {
  const stat = await orAbsent(fs.stat(realPath));
  if (stat === undefined) return undefined;
  if (!stat.isFile() || stat.size > HOSTS_FILE_BYTES_MAX) {
    const what = stat.isFile() ? `has more than ${HOSTS_FILE_BYTES_MAX} bytes` : 'is not a file';
    throw new MiroirError('ERR_HOSTS_FILE_INVALID', `${shownPath}:1 ${what}`);
  }
  return { realPath, bytes: await fs.readFile(realPath), mode: stat.mode & 0o7777, uid: stat.uid, gid: stat.gid };
}

function registryOf(folderName: string): Registry | undefined {
  return parseRegistry(folderName.replace(/^(.+)_(\d+)_$/, '$1:$2'));
}

/** The names of a registry's own folder, in the order in which containerd looks for them. */
export function folderNames(registry: Registry): readonly string[] {
  return [registry.replace(/^(.+):(.*)$/, '$1_$2_'), registry];
}

/** The folder that containerd reads for a registry, unless it has none and `_default` is read. */
export function findFolder(folders: ReadonlyMap<string, CertsFolder>, registry: Registry): CertsFolder | undefined {
  return folderNames(registry)
    .map((name) => folders.get(name))
    .find((folder) => folder !== undefined);
}

/** Paths are relative to the folder: on the node it may be elsewhere than where it is mounted here. */
function certificatesOf(entries: readonly string[]): HostSettings {
  const ca = entries.filter((name) => name.endsWith('.crt'));
  const client = entries
    .filter((name) => name.endsWith('.cert'))
    .map((name) => {
      const key = name.replace(/\.cert$/, '.key');
      return [name, entries.includes(key) ? key : name]; // Without a key file the certificate's own file has it.
    });
  return { ...(ca.length > 0 && { ca }), ...(client.length > 0 && { client }) };
}

const LEFTOVER = /^\.hosts\.toml\.miroir-[0-9a-f]{12}$/;

/** Puts the text in the file's place at once, made durable, with the mode and the owner that the file had. */
export async function replaceFile(realPath: string, bytes: Uint8Array, like: HostsOnDisk | undefined): Promise<void> {
  const folder = path.dirname(realPath);
  const temporary = path.join(folder, `.hosts.toml.miroir-${randomBytes(6).toString('hex')}`);
  const file = await fs.open(temporary, 'wx', 0o644);
  try {
    if (like !== undefined) {
      await file.chown(like.uid, like.gid);
      await file.chmod(like.mode);
    }
    await file.writeFile(bytes);
    await file.sync();
    await file.close();
    await fs.rename(temporary, realPath);
  } catch (error) {
    await file.close().catch(() => {});
    await fs.unlink(temporary).catch(() => {});
    throw error;
  }
  await syncFolder(folder);
}

export async function removeFile(realPath: string): Promise<void> {
  await fs.unlink(realPath);
  await syncFolder(path.dirname(realPath));
}

/** Removes a folder unless something is in it. */
export async function removeEmptyFolder(folder: string): Promise<void> {
  try {
    await fs.rmdir(folder);
  } catch (error) {
    if (!['ENOTEMPTY', 'EEXIST', 'ENOENT'].some((code) => isErrno(error, code))) throw error;
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await fs.open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** How many of the folders that lead to a path are not there. */
export async function countMissing(folder: string): Promise<number> {
  let count = 0;
  for (let at = path.resolve(folder); (await orAbsent(fs.stat(at))) === undefined; at = path.dirname(at)) count += 1;
  return count;
}

async function orAbsent<T>(result: Promise<T>): Promise<T | undefined> {
  try {
    return await result;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw error;
  }
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
