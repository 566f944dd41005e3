import { type ContainerdVersion, isAtLeast } from './containerd-version.ts';
import type { Distribution } from './distribution.ts';

export interface FixContext {
  readonly distribution: Distribution;
  /** Undefined when it is not known: then the newest one's names are used. */
  readonly version: ContainerdVersion | undefined;
  readonly certsDir: string;
  readonly configFile: string;
}

/** What can be set in containerd's configuration, by the names of its newest version. */
export interface Wanted {
  readonly config_path?: string;
  readonly discard_unpacked_layers?: boolean;
}

const NEWEST: ContainerdVersion = { major: 2, minor: 4 };

/** The settings as lines of a configuration, for this containerd: its sections have other names in each generation. */
function tomlFor(wanted: Wanted, version: ContainerdVersion | undefined): string {
  const isOne = (version ?? NEWEST).major < 2;
  const images = isOne ? 'io.containerd.grpc.v1.cri' : 'io.containerd.cri.v1.images';
  const lines: string[] = [];
  if (wanted.discard_unpacked_layers !== undefined) {
    lines.push(`[plugins."${images}"${isOne ? '.containerd' : ''}]`);
    lines.push(`discard_unpacked_layers = ${wanted.discard_unpacked_layers}`);
  }
  if (wanted.config_path !== undefined) {
    lines.push(`[plugins."${images}".registry]`, `config_path = ${JSON.stringify(wanted.config_path)}`);
  }
  return lines.map((line) => `  ${line}`).join('\n');
}

/** How settings are changed on this distribution, with the lines to change. */
export function fixSettings(wanted: Wanted, context: FixContext): string {
  const { version, configFile } = context;
  const replaces =
    version !== undefined && !isAtLeast(version, 2, 0)
      ? ' In containerd 1.x a file of imports replaces the whole section of the files before it: change the main file, or repeat the section.'
      : '';
  return `set in ${configFile}, then restart containerd:\n${tomlFor(wanted, version)}${replaces === '' ? '' : `\n ${replaces}`}`;
}
