import fs from 'node:fs';
import path from 'node:path';
import { run } from './namespace.ts';
import { BIN_ROOT } from './programs.ts';

/** The folder of a Go module, as `k8s.io/kubernetes@v1.36.3`, read-only; it is fetched unless it is there. Throws ERR_LAB_COMMAND_FAILED. */
export async function fetchModule(module: string, signal: AbortSignal): Promise<string> {
  const { stdout } = await run(['go', 'mod', 'download', '-json', module], {}, signal);
  return (JSON.parse(stdout) as { readonly Dir: string }).Dir;
}

/** A copy of a folder of a module, beside what the lab builds; the second time it is there. Throws as above. */
export async function fetchModuleFolder(
  name: string,
  { module, folder }: { readonly module: string; readonly folder: string },
  signal: AbortSignal,
): Promise<string> {
  const copy = path.join(BIN_ROOT, name);
  if (fs.existsSync(copy)) return copy;
  const from = path.join(await fetchModule(module, signal), folder);
  const draft = fs.mkdtempSync(path.join(BIN_ROOT, '.fetching-'));
  fs.cpSync(from, draft, { recursive: true });
  fs.renameSync(draft, copy);
  return copy;
}
