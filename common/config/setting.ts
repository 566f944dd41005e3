/** What is wrong with a text, and what to write instead: both end up in one line that a person reads. */
export interface Problem {
  readonly wrong: string;
  readonly fix: string;
}

/** The value, or all that is wrong: at least one problem. */
export type Parsed<T> = { readonly value: T } | { readonly problems: readonly Problem[] };

/** How the text of a setting becomes its value. */
export interface Kind<T> {
  /** Stands for the value in `--help`: `host:port` becomes `--peer-address <host:port>`. */
  readonly placeholder: string;
  /** Takes text without surrounding blanks, at least one character long and at most VALUE_LENGTH_MAX. */
  readonly parse: (text: string) => Parsed<T>;
  /** Lists may come from several flags of one name, or as a YAML sequence; their items are joined by commas. */
  readonly isList?: true;
}

export type CommandName =
  | 'mirror'
  | 'webhook'
  | 'agent'
  | 'configure'
  | 'cleanup'
  | 'check'
  | 'status'
  | 'verify'
  | 'uninstall';

/** One thing that can be set, by a flag, an environment variable or a key of the configuration file. */
export interface Setting<T> {
  readonly commands: readonly CommandName[];
  readonly kind: Kind<unknown>;
  /** The text that is parsed when nobody set it. */
  readonly default?: string;
  /** It must be set; this says how. */
  readonly required?: string;
  /** What being unset means, where there is neither a default nor a requirement. */
  readonly unset?: string;
  /** One or two sentences, without a closing full stop. */
  readonly help: string;
  /** A value as a person would write it. */
  readonly example: string;
  /** Carries the type of the value; never there when the program runs. */
  readonly type?: T;
}

interface Base<C extends readonly CommandName[], T> {
  readonly commands: C;
  readonly kind: Kind<T>;
  readonly help: string;
  readonly example: string;
}

type Of<C extends readonly CommandName[], T> = Setting<T> & { readonly commands: C };

export function withDefault<const C extends readonly CommandName[], T>(
  setting: Base<C, T> & { readonly default: string },
): Of<C, T> {
  return setting;
}

export function required<const C extends readonly CommandName[], T>(
  setting: Base<C, T> & { readonly required: string },
): Of<C, T> {
  return setting;
}

export function optional<const C extends readonly CommandName[], T>(
  setting: Base<C, T> & { readonly unset: string },
): Of<C, T | undefined> {
  return setting;
}

/** `swarmKeyFile` as a flag and a key of the file: `swarm-key-file`. */
export function flagName(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** `swarmKeyFile` as an environment variable: `MIROIR_SWARM_KEY_FILE`. */
export function variableName(name: string): string {
  return `MIROIR_${flagName(name).replaceAll('-', '_').toUpperCase()}`;
}
