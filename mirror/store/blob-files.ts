import fs from 'node:fs/promises';
import path from 'node:path';
import { MiroirError } from '../../common/errors.ts';
import { type Digest, digestHex } from '../../common/oci/digest.ts';

/** Where containerd's content store, the folder `contentRoot`, keeps committed content: files named by their hex digest. */
export function blobFolder(contentRoot: string): string {
  return path.join(contentRoot, 'blobs', 'sha256');
}

/** The names in the folder of blobs; none when it is not there, as before the first pull. */
export async function listBlobs(contentRoot: string): Promise<readonly string[]> {
  try {
    return await fs.readdir(blobFolder(contentRoot));
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return [];
    throw rootUnreadable(contentRoot, error);
  }
}

/** The length of a blob's file, or undefined when there is none. */
export async function blobSize(contentRoot: string, digest: Digest): Promise<number | undefined> {
  try {
    const stat = await fs.lstat(path.join(blobFolder(contentRoot), digestHex(digest)));
    return stat.isFile() ? stat.size : undefined;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
    throw rootUnreadable(contentRoot, error);
  }
}

/** Opens a blob's file. Throws ERR_CONTENT_NOT_FOUND, ERR_CONTENT_ROOT_UNREADABLE. */
export async function openBlob(contentRoot: string, digest: Digest): Promise<fs.FileHandle> {
  try {
    return await fs.open(path.join(blobFolder(contentRoot), digestHex(digest)), 'r');
  } catch (error) {
    if (isErrno(error, 'ENOENT')) throw contentNotFound(digest);
    if (isErrno(error, 'EACCES') || isErrno(error, 'EPERM')) throw rootUnreadable(contentRoot, error);
    throw error;
  }
}

/** Throws ERR_CONTENT_ROOT_UNREADABLE. */
export async function assertReadable(contentRoot: string): Promise<void> {
  try {
    await fs.readdir(contentRoot);
  } catch (error) {
    throw rootUnreadable(contentRoot, error);
  }
  await listBlobs(contentRoot);
}

export function contentNotFound(digest: Digest): MiroirError {
  return new MiroirError('ERR_CONTENT_NOT_FOUND', `${digest} is not in containerd's content store`);
}

function rootUnreadable(contentRoot: string, cause: unknown): MiroirError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new MiroirError(
    'ERR_CONTENT_ROOT_UNREADABLE',
    `containerd keeps its content in ${contentRoot}, which cannot be read from here (${reason}): ` +
      'mount that folder at the same path, read-only is enough, and run as root',
    { cause },
  );
}

/** Whether the system said so. */
export function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
