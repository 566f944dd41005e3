import fs from 'node:fs/promises';
import { applyChanges, type CertsChange, planRemoval, withCertsDir } from './certs-change.ts';
import { listCertsDir, readFolders } from './certs-d.ts';

export interface CleanupOptions {
  readonly certsDir: string;
}

/**
 * Takes out of certs.d all that `configure` put there, and nothing else: what people have changed since then outside of
 * our lines stays. Throws ERR_HOSTS_FILE_INVALID, before anything is changed, when our lines in a file have no end, and
 * ERR_CERTS_DIR_INACCESSIBLE.
 */
export async function cleanup({ certsDir }: CleanupOptions): Promise<readonly CertsChange[]> {
  return withCertsDir(certsDir, async () => {
    const folders = [...(await readFolders(certsDir, await listCertsDir(certsDir))).values()];
    const changes = new Map(
      folders.flatMap((folder) => {
        const change = planRemoval(folder);
        return change === undefined ? [] : [[change.realPath, change] as const];
      }),
    );
    for (const leftover of folders.flatMap(({ leftovers }) => leftovers)) await fs.rm(leftover, { force: true });
    return applyChanges([...changes.values()]);
  });
}
