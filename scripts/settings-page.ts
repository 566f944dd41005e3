import { CONFIG_VARIABLE } from '../common/config/load.ts';
import { type CommandName, flagName, type Setting, variableName } from '../common/config/setting.ts';
import { EXCLUSIVE, settingsOf } from '../common/config/settings.ts';

const COMMANDS: readonly CommandName[] = [
  'mirror',
  'webhook',
  'agent',
  'configure',
  'cleanup',
  'check',
  'status',
  'verify',
];

const INTRODUCTION = `# Settings

<!-- Made by \`npm run docs\` from common/config/settings.ts; a test compares them. -->

Each setting is a flag of \`miroir\`, an environment variable, and a key of an optional YAML file. A flag goes before a
variable, a variable before the file, and the file before the default. An empty variable counts as unset. A mirror and an agent also
read \`HTTPS_PROXY\`, \`HTTP_PROXY\` and \`NO_PROXY\`, as other programs do: how registries are asked.

The file is named by \`--config\` or \`${CONFIG_VARIABLE}\`. It is one mapping of keys to texts; lists may be texts with commas or YAML
sequences. One file may serve all commands: each takes its own settings from it. A key that no command knows is a mistake.

\`\`\`yaml
swarm-key-file: /etc/miroir/swarm.key
members-dns: miroir-swarm.miroir.svc.cluster.local
registries:
  - docker.io
  - registry.example=http://10.0.0.1:5000
\`\`\`

All mistakes are reported at once on stderr, each with where it was said and what to write instead; the exit code is 2.
`;

/** The text of docs/reference/settings.md. */
export function settingsPage(): string {
  const exclusive = EXCLUSIVE.map((group) => group.map((name) => `\`--${flagName(name)}\``).join(', '));
  const sections = COMMANDS.map((command) => {
    const settings = settingsOf(command).map(([name, setting]) => describe(name, setting));
    return `## miroir ${command}\n\n${settings.join('\n')}`;
  });
  return `${INTRODUCTION}Only one of each of these groups may be set: ${exclusive.join('; ')}.\n\n${sections.join('\n')}`;
}

function describe(name: string, { kind, help, default: text, required, unset, example }: Setting<unknown>): string {
  const placeholder = kind.placeholder.replaceAll('|', ' | ');
  const presence = required === undefined ? `Default: ${text === undefined ? unset : `\`${text}\``}` : 'Must be set';
  return [
    `### \`--${flagName(name)}\``,
    '',
    `${help}.`,
    '',
    `- Value: \`${placeholder}\`, as in \`${example}\``,
    `- ${presence}${required === undefined ? '' : `: ${required}`}`,
    `- Variable: \`${variableName(name)}\`, key: \`${flagName(name)}\``,
    '',
  ].join('\n');
}
