import { parse, TomlError } from 'smol-toml';
import { MiroirError } from '../common/errors.ts';

/**
 * What containerd reads about a host, at the root of hosts.toml for the last host (`server`) and in each `[host]` table.
 * Only the types are checked that would make containerd drop the file.
 */
export interface HostSettings {
  readonly capabilities?: readonly string[];
  readonly ca?: string | readonly string[];
  readonly client?: string | ReadonlyArray<string | readonly string[]>;
  readonly skip_verify?: boolean;
  readonly header?: Readonly<Record<string, string | readonly string[]>>;
  readonly override_path?: boolean;
  readonly dial_timeout?: string;
}

export interface HostsFile {
  readonly server: string | undefined;
  readonly root: HostSettings;
  /** In the order in which containerd asks them. */
  readonly hosts: ReadonlyMap<string, HostSettings>;
}

export const NO_HOSTS: HostsFile = { server: undefined, root: {}, hosts: new Map() };

/** Parses a hosts.toml. Throws ERR_HOSTS_FILE_INVALID with `file:line` when it is no TOML or containerd would drop it. */
export function parseHostsToml(text: string, file: string): HostsFile {
  const table = parseToml(text, file);
  const { server, host = {}, ...root } = table;
  if (server !== undefined && typeof server !== 'string') throw wrongType(text, file, 'server', 'a string');
  if (!isTable(host)) throw wrongType(text, file, 'host', 'tables: [host."https://..."]');
  const hosts = Object.entries(host).map(([url, settings]) => {
    if (!isTable(settings)) throw wrongType(text, file, url, 'a table');
    return [url, parseSettings(settings, text, file)] as const;
  });
  return { server: server === '' ? undefined : server, root: parseSettings(root, text, file), hosts: new Map(hosts) };
}

type Table = Readonly<Record<string, unknown>>;

function parseToml(text: string, file: string): Table {
  if (text.startsWith('\uFEFF')) {
    const message = `${file}:1 begins with a byte order mark, for which containerd 2 drops the whole file: save it without`;
    throw new MiroirError('ERR_HOSTS_FILE_INVALID', message);
  }
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const problem = error.message.split('\n')[0]?.replace('Invalid TOML document: ', '');
    throw new MiroirError('ERR_HOSTS_FILE_INVALID', `${file}:${error.line} cannot be read: ${problem}`, {
      cause: error,
    });
  }
}

const isString = (value: unknown) => typeof value === 'string';
const isStrings = (value: unknown) => Array.isArray(value) && value.every(isString);
const isTable = (value: unknown): value is Table =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

const SETTING_TYPES: { readonly [K in keyof HostSettings]-?: readonly [(value: unknown) => boolean, string] } = {
  capabilities: [isStrings, 'a list of strings'],
  ca: [(value) => isString(value) || isStrings(value), 'a path or a list of paths'],
  client: [
    (value) =>
      isString(value) ||
      (Array.isArray(value) && value.every((pair) => isString(pair) || (isStrings(pair) && pair.length === 2))),
    'a path, a list of paths, or a list of pairs of paths',
  ],
  skip_verify: [(value) => typeof value === 'boolean', 'true or false'],
  header: [
    (value) => isTable(value) && Object.values(value).every((entry) => isString(entry) || isStrings(entry)),
    'a table of strings or lists of strings',
  ],
  override_path: [(value) => typeof value === 'boolean', 'true or false'],
  dial_timeout: [isString, 'a duration such as "5s"'],
};

function parseSettings(table: Table, text: string, file: string): HostSettings {
  const known = Object.entries(SETTING_TYPES).flatMap(([name, [isRight, expected]]) => {
    const value = table[name];
    if (value === undefined) return [];
    if (!isRight(value)) throw wrongType(text, file, name, expected);
    return [[name, value] as const];
  });
  return Object.fromEntries(known);
}

function wrongType(text: string, file: string, name: string, expected: string): MiroirError {
  const line = text
    .slice(0, Math.max(text.search(new RegExp(`^.*\\b${RegExp.escape(name)}`, 'm')), 0))
    .split('\n').length;
  const message = `${file}:${line} sets ${name} to something else than ${expected}, for which containerd drops the whole file`;
  return new MiroirError('ERR_HOSTS_FILE_INVALID', message);
}

/** The lines of a `[host."url"]` table. */
export function formatHost(url: string, settings: HostSettings): readonly string[] {
  return [`[host.${quote(url)}]`, ...formatSettings(settings)];
}

/** The settings as root keys, or as those of the table above them. */
export function formatSettings(settings: HostSettings): readonly string[] {
  return Object.entries(settings).map(([name, value]) => `${name} = ${formatValue(value)}`);
}

export function formatServer(url: string): string {
  return `server = ${quote(url)}`;
}

type Value = string | boolean | readonly Value[] | { readonly [key: string]: Value };

function formatValue(value: Value): string {
  if (typeof value === 'string') return quote(value);
  if (typeof value === 'boolean') return String(value);
  if (isList(value)) return `[${value.map(formatValue).join(', ')}]`;
  return `{ ${Object.entries(value)
    .map(([key, entry]) => `${quote(key)} = ${formatValue(entry)}`)
    .join(', ')} }`;
}

function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

/** JSON's strings are TOML's basic strings, but for DEL, which TOML wants escaped. */
function quote(text: string): string {
  return JSON.stringify(text).replaceAll('\x7f', '\\u007f');
}
