import type { ConfigOf } from '../common/config/settings.ts';
import type { CertsChange } from '../containerd/certs-change.ts';
import { cleanup } from '../containerd/cleanup.ts';
import { configure } from '../containerd/configure.ts';
import type { ProgramDeps } from './program.ts';

type Output = Pick<ProgramDeps, 'stdout'>;

/** Throws what `configure` throws: its messages name the file and the fix. */
export async function runConfigure(deps: Output, config: ConfigOf<'configure'>, isJson: boolean): Promise<void> {
  deps.stdout(formatChanges(await configure(config), config.certsDir, isJson));
}

/** Throws what `cleanup` throws: its messages name the file and the fix. */
export async function runCleanup(deps: Output, config: ConfigOf<'cleanup'>, isJson: boolean): Promise<void> {
  deps.stdout(formatChanges(await cleanup(config), config.certsDir, isJson));
}

function formatChanges(changes: readonly CertsChange[], certsDir: string, isJson: boolean): string {
  if (isJson) return `${JSON.stringify(changes, undefined, 2)}\n`;
  if (changes.length === 0) return `There is nothing of Miroir in ${certsDir}\n`;
  const width = Math.max(...changes.map(({ registry }) => registry.length));
  return changes
    .map(({ registry, file, action }) => `${action.padEnd('unchanged'.length)}  ${registry.padEnd(width)}  ${file}\n`)
    .join('');
}
