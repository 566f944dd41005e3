import { Option } from 'commander';
import { CONFIG_FLAG, CONFIG_VARIABLE } from '../common/config/load.ts';
import { type CommandName, flagName, type Setting } from '../common/config/setting.ts';
import { settingsOf } from '../common/config/settings.ts';

export const FLAGS_EPILOGUE = `
Each flag is also an environment variable (--zone is MIROIR_ZONE) and a key of
the YAML file that --config names (zone: eu-1). A flag goes before a variable,
and a variable before the file.`;

/** The options of a command, from the table of settings. They only collect texts: parsing is done with all of them at hand. */
export function optionsOf(command: CommandName): readonly Option[] {
  const options = settingsOf(command).map(([name, setting]) =>
    collecting(flagName(name), setting.kind.placeholder, `${setting.help} (${presence(setting)})`),
  );
  const help = `A YAML file with settings (default: the value of ${CONFIG_VARIABLE})`;
  return [...options, collecting(CONFIG_FLAG, 'path', help)];
}

/**
 * The value is declared optional, so that a missing one is reported together with all other mistakes; OPTION_STYLE shows
 * it as what it is.
 */
function collecting(flag: string, placeholder: string, description: string): Option {
  return new Option(`--${flag} [${placeholder}]`, description)
    .preset('')
    .argParser((value: string, previous: readonly string[] | undefined) => [...(previous ?? []), value]);
}

/** How commander writes the options in `--help`. */
export const OPTION_STYLE = {
  optionTerm: ({ flags }: Option) => flags.replace(/ \[(.*)\]$/, ' <$1>'),
  optionDescription: ({ description }: Option) => description,
};

function presence({ default: text, required, unset }: Setting<unknown>): string {
  if (required !== undefined) return 'must be set';
  return `default: ${text ?? unset}`;
}

/** What commander collected, by flag. */
export function collectedFlags(command: CommandName, options: Readonly<Record<string, unknown>>) {
  const flags = new Map<string, readonly string[]>();
  for (const name of [...settingsOf(command).map(([setting]) => setting), CONFIG_FLAG]) {
    const values = options[name];
    if (Array.isArray(values)) flags.set(flagName(name), values as readonly string[]);
  }
  return flags;
}

/** Leaves out the values of unknown flags: the flag alone is the mistake. */
export function withoutValuesOfUnknownFlags(args: readonly string[]): readonly string[] {
  return args.filter((arg, index) => {
    const before = args[index - 1];
    return arg.startsWith('-') || before === undefined || !before.startsWith('--') || before.includes('=');
  });
}
