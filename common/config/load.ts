import type { ConfigFile } from './config-file.ts';
import { configInvalid, type Mistake } from './mistake.ts';
import { nearest } from './nearest.ts';
import { quote } from './quote.ts';
import { type CommandName, flagName, type Setting, variableName } from './setting.ts';
import { type ConfigOf, EXCLUSIVE, SETTINGS, type SettingName, settingsOf } from './settings.ts';

/** Linux passes no longer argument or variable (MAX_ARG_STRLEN), so this is a limit for files alone. */
const VALUE_LENGTH_MAX = 128 * 1024;
/** Room for every list at its longest; what is larger is no file of settings. */
const FILE_BYTES_MAX = 1024 * 1024;

export const CONFIG_FLAG = 'config';
export const CONFIG_VARIABLE = 'MIROIR_CONFIG';
const CONFIG_FIX = 'name a readable YAML file, or leave it out';

export interface ConfigSources {
  /** The values of each flag, in the order given, by the flag's name without its dashes. */
  readonly flags: ReadonlyMap<string, readonly string[]>;
  /** Arguments that are neither flags of the command nor values of them. */
  readonly unknownArguments: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads a file as text; throws what node:fs throws. Only called when a configuration file is named. */
  readonly readFile: (path: string) => Promise<string>;
}

/** Where a setting was found, and the texts found there. */
interface Found {
  readonly values: readonly string[];
  readonly source: string;
}

/**
 * The frozen configuration of a command: flags go before environment variables, these before the file, and all before
 * defaults. Throws ERR_CONFIG_INVALID with every mistake there is, a line each, ready for a person's eyes.
 */
export async function loadConfig<C extends CommandName>(command: C, sources: ConfigSources): Promise<ConfigOf<C>> {
  const mistakes = sources.unknownArguments.map((argument) => unknownArgument(command, argument));
  const file = await loadFile(sources);
  mistakes.push(...file.mistakes);
  const config: Record<string, unknown> = {};
  const set = new Map<SettingName, string>();
  for (const [name, setting] of settingsOf(command)) {
    const found = find(name, sources, file);
    if (found !== undefined) set.set(name, found.source);
    const outcome = evaluate(name, setting, found, file.mistakes.length > 0);
    if ('mistakes' in outcome) mistakes.push(...outcome.mistakes);
    else config[name] = outcome.value;
  }
  mistakes.push(...exclusions(set));
  if (mistakes.length > 0) throw configInvalid(mistakes);
  return Object.freeze(config) as ConfigOf<C>;
}

/** An empty variable counts as unset, since templates leave such behind; an empty flag or key is a mistake. */
function find(name: string, { flags, env }: ConfigSources, file: ConfigFile): Found | undefined {
  const flag = flagName(name);
  const given = flags.get(flag);
  if (given !== undefined) return { values: given, source: `--${flag}` };
  const variable = variableName(name);
  const text = env[variable]?.trim() ?? '';
  if (text !== '') return { values: [text], source: variable };
  return file.entries.get(flag);
}

type Outcome = { readonly value: unknown } | { readonly mistakes: readonly Mistake[] };

function evaluate(name: string, setting: Setting<unknown>, found: Found | undefined, isFileBroken: boolean): Outcome {
  const flag = flagName(name);
  const wrong = (text: string, fix: string): Outcome => ({
    mistakes: [{ name: flag, source: found?.source ?? 'not set', wrong: text, fix }],
  });
  if (found === undefined) {
    if (setting.required === undefined) {
      return setting.default === undefined ? { value: undefined } : parse(flag, setting, setting.default, 'default');
    }
    // A broken file may have said it.
    return isFileBroken ? { value: undefined } : wrong('it must be set', setting.required);
  }
  const { values, source } = found;
  if (values.length > 1 && setting.kind.isList === undefined) {
    return wrong(`it has ${values.length} values`, 'give it one');
  }
  const text = values.join(',').trim();
  if (text === '') return wrong('it is empty', 'give it a value or leave it out');
  if (text.length > VALUE_LENGTH_MAX) {
    return wrong(`it is ${text.length} characters long`, `at most ${VALUE_LENGTH_MAX} are read`);
  }
  return parse(flag, setting, text, source);
}

function parse(flag: string, setting: Setting<unknown>, text: string, source: string): Outcome {
  const parsed = setting.kind.parse(text);
  return 'value' in parsed
    ? parsed
    : { mistakes: parsed.problems.map(({ wrong, fix }) => ({ name: flag, source, wrong, fix })) };
}

function exclusions(set: ReadonlyMap<SettingName, string>): readonly Mistake[] {
  return EXCLUSIVE.flatMap((group) => {
    const used = group.filter((name) => set.has(name));
    if (used.length < 2) return [];
    return used.map((name) => {
      const others = used.filter((other) => other !== name).map(flagName);
      const wrong = `it is set together with ${others.join(' and ')}`;
      return { name: flagName(name), source: set.get(name) ?? '', wrong, fix: 'keep one of them' };
    });
  });
}

function unknownArgument(command: CommandName, argument: string): Mistake {
  const source = 'command line';
  if (!argument.startsWith('-')) {
    const wrong = `${command} takes flags only`;
    return { name: quote(argument), source, wrong, fix: 'take it out, or put it behind its flag' };
  }
  const [flag = ''] = argument.replace(/^--?/, '').split('=');
  const own = settingsOf(command).map(([name]) => flagName(name));
  const name = `--${quote(flag).slice(1, -1)}`;
  const owner = Object.entries(SETTINGS).find(([other]) => flagName(other) === flag)?.[1];
  if (owner !== undefined) {
    const commands = owner.commands.join(' and ');
    return { name, source, wrong: `it is a setting of ${commands}, not of ${command}`, fix: 'take it out' };
  }
  const meant = nearest(flag, [...own, CONFIG_FLAG]);
  const fix = meant === undefined ? `see miroir ${command} --help` : `did you mean --${meant}?`;
  return { name, source, wrong: 'there is no such flag', fix };
}

async function loadFile({ flags, env, readFile }: ConfigSources): Promise<ConfigFile> {
  const flagged = flags.get(CONFIG_FLAG)?.at(-1);
  const path = flagged ?? env[CONFIG_VARIABLE] ?? '';
  if (flagged === undefined && path === '') return { entries: new Map(), mistakes: [] };
  const source = flagged === undefined ? CONFIG_VARIABLE : `--${CONFIG_FLAG}`;
  const broken = (wrong: string, fix = CONFIG_FIX): ConfigFile => ({
    entries: new Map(),
    mistakes: [{ name: CONFIG_FLAG, source, wrong, fix }],
  });
  let text: string;
  try {
    text = await readFile(path);
  } catch (error) {
    return broken(`${quote(path)} cannot be read (${reasonOf(error)})`);
  }
  if (Buffer.byteLength(text) > FILE_BYTES_MAX) {
    return broken(`${quote(path)} is larger than ${FILE_BYTES_MAX} bytes`);
  }
  const { parseConfigFile } = await import('./config-file.ts');
  return parseConfigFile(path, text, Object.keys(SETTINGS).map(flagName));
}

function reasonOf(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : '';
  const reasons: Readonly<Record<string, string>> = {
    ENOENT: 'there is no such file',
    EACCES: 'permission denied',
    EISDIR: 'it is a folder',
  };
  return reasons[code] ?? (code || 'unknown reason');
}
