import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';

/** Opens a file of these bytes for as long as a test runs. It was just written, so the kernel has it in memory. */
export async function openFileOf(t: TestContext, bytes: Uint8Array): Promise<fs.FileHandle> {
  const folder = await fs.mkdtemp(path.join(os.tmpdir(), 'miroir-file-'));
  await fs.writeFile(path.join(folder, 'file'), bytes);
  const file = await fs.open(path.join(folder, 'file'));
  t.after(async () => {
    await file.close();
    await fs.rm(folder, { recursive: true });
  });
  return file;
}
