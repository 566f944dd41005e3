import { createHash } from 'node:crypto';
import { type BigIntStats, closeSync, constants, lstatSync, openSync, readSync, statSync } from 'node:fs';
import fs from 'node:fs/promises';
import path from 'node:path';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import { isErrno } from './blob-files.ts';

/** What the folder of an ingest is called: the hex sha256 of its ref. */
export const INGEST_ID = /^[0-9a-f]{64}$/;

/** An ingest as one look at its folder found it. */
export interface IngestSighting {
  readonly digest: Digest;
  /** What it will have when it is whole. */
  readonly sizeBytes: number;
  /** What it has. More than `sizeBytes` when whoever sends it sends too much. */
  readonly bytes: number;
  /** Tells this file from any other, now and later, and stays when containerd commits it by renaming. */
  readonly identity: string;
  /** Changes each time that containerd puts the ingest down without committing it. */
  readonly closing: string;
  /** When its file was made; undefined where the file system does not keep that. */
  readonly bornAtMs: number | undefined;
}

/** `not-ours` for good; `incomplete` as long as nothing else in its folder changes. */
export type IngestLook = IngestSighting | 'gone' | 'not-ours' | 'incomplete';

/** `k8s.io/1/layer-sha256:<hex>` is 94 long. An annotation may put a name before the digest; a longer one is not shared. */
const REF_BYTES_MAX = 1024;
/** The digits of the largest 64-bit number, and one to see that there are more. */
const TOTAL_BYTES_MAX = 20;

/**
 * What a pull calls an ingest (containerd's remotes.MakeRefKey, behind the namespace and a number). Other refs end in a
 * digest too and hold something else: `convert-uncompress-from-<digest>`.
 */
const PULL_REF =
  /^(?<namespace>[^/]+)\/\d+\/(?:manifest|index|layer|config|attestation|unknown)-(?:.*@)?(?<digest>sha256:[0-9a-f]{64})$/s;

/** The digest that a pull in this namespace receives under a ref; undefined when it is no such ref. */
export function parseIngestRef(ref: string, namespace: string): Digest | undefined {
  const found = PULL_REF.exec(ref)?.groups;
  return found?.['namespace'] === namespace ? parseDigest(found['digest'] ?? '') : undefined;
}

/** Where containerd keeps what it is receiving. */
export function ingestFolder(contentRoot: string): string {
  return path.join(contentRoot, 'ingest');
}

/** The ids of the ingests there are, so many at most; none when there is no folder. */
export async function listIngests(contentRoot: string, max: number): Promise<readonly string[]> {
  const ids: string[] = [];
  try {
    for await (const { name } of await fs.opendir(ingestFolder(contentRoot))) {
      if (INGEST_ID.test(name)) ids.push(name);
      if (ids.length >= max) break;
    }
  } catch (error) {
    if (!isErrno(error, 'ENOENT')) throw error;
  }
  return ids;
}

/** Looks at an ingest, of which this was seen before. containerd writes `ref`, `startedat`, `updatedat` and `total` before it makes `data`. */
export function lookAtIngest(folder: string, namespace: string, before?: IngestSighting): IngestLook {
  const again = before && lookAgain(folder, before);
  if (again !== undefined) return again;
  const ref = readSmall(path.join(folder, 'ref'), REF_BYTES_MAX);
  if (ref === undefined) return isFolder(folder) ? 'incomplete' : 'gone';
  if (ref.length > REF_BYTES_MAX) return 'not-ours';
  if (createHash('sha256').update(ref).digest('hex') !== path.basename(folder)) return 'incomplete'; // Half written.
  const digest = parseIngestRef(ref.toString('latin1'), namespace);
  if (digest === undefined) return 'not-ours';
  const data = statFile(path.join(folder, 'data'));
  const updatedAt = statFile(path.join(folder, 'updatedat'));
  const total = readSmall(path.join(folder, 'total'), TOTAL_BYTES_MAX);
  const sizeBytes = total && parseTotal(total.toString('latin1'));
  // Nobody can be promised content of a length that is not known.
  if (data === undefined || updatedAt === undefined || sizeBytes === undefined) return 'incomplete';
  const born = data.birthtimeNs / 1_000_000n;
  return {
    digest,
    sizeBytes,
    bytes: Number(data.size),
    identity: identify(data),
    closing: identify(updatedAt), // containerd replaces the file.
    bornAtMs: born > 0n ? Number(born) : undefined,
  };
}

/** The same file is still named as it was, and will be as long; undefined when it is another one, or gone. */
function lookAgain(folder: string, before: IngestSighting): IngestSighting | undefined {
  const data = statFile(path.join(folder, 'data'));
  const updatedAt = statFile(path.join(folder, 'updatedat'));
  if (data === undefined || updatedAt === undefined || identify(data) !== before.identity) return undefined;
  return { ...before, bytes: Number(data.size), closing: identify(updatedAt) };
}

/** Inode numbers are used again, so the birth counts too. A renamed file keeps both. */
export function identify({ dev, ino, birthtimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${birthtimeNs}`;
}

function parseTotal(text: string): number | undefined {
  if (!/^[1-9]\d*$/.test(text)) return undefined;
  const total = Number(text);
  return Number.isSafeInteger(total) ? total : undefined;
}

/** Tells a folder from another one of that name; undefined when there is none, or it cannot be looked at. */
export function identifyFolder(name: string): string | undefined {
  try {
    const stat = statSync(name, { bigint: true, throwIfNoEntry: false });
    return stat && identify(stat);
  } catch {
    return undefined;
  }
}

const READ_NEVER_WAIT = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** Opens a file to read it; undefined when there is none. It never waits, as it would for the other end of a pipe. */
export async function openFile(name: string): Promise<fs.FileHandle | undefined> {
  try {
    return await fs.open(name, READ_NEVER_WAIT);
  } catch (error) {
    return absentOrThrow(error);
  }
}

/** Undefined when there is no regular file of that name. At once: a thread that is asked takes longer to begin. */
export function statFile(name: string): BigIntStats | undefined {
  try {
    const stat = lstatSync(name, { bigint: true, throwIfNoEntry: false });
    return stat?.isFile() ? stat : undefined;
  } catch (error) {
    if (isErrno(error, 'ENOTDIR')) return undefined;
    throw error;
  }
}

/**
 * A file's bytes, one more than allowed when it has more; undefined when there is none. At once: containerd has just written it, so that it
 * is in memory, and threads that are asked to open, read and close it take the processor from the pull.
 */
function readSmall(name: string, bytesMax: number): Buffer | undefined {
  let fd: number;
  try {
    fd = openSync(name, READ_NEVER_WAIT);
  } catch (error) {
    return absentOrThrow(error);
  }
  try {
    const buffer = Buffer.alloc(bytesMax + 1);
    return buffer.subarray(0, readSync(fd, buffer, 0, bytesMax + 1, 0));
  } finally {
    closeSync(fd);
  }
}

function isFolder(name: string): boolean {
  try {
    return statSync(name, { throwIfNoEntry: false })?.isDirectory() ?? false;
  } catch (error) {
    return absentOrThrow(error) ?? false;
  }
}

function absentOrThrow(error: unknown): undefined {
  if (!isErrno(error, 'ENOENT') && !isErrno(error, 'ENOTDIR')) throw error;
}
