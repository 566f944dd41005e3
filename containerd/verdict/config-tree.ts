import type { LineOf } from './toml-keys.ts';

/** Where something is said. */
export interface Place {
  readonly file: string;
  /** From 1. */
  readonly line: number;
}

/** A configuration of which each part knows who said it. */
export type ConfigNode =
  | { readonly kind: 'table'; readonly entries: ReadonlyMap<string, ConfigNode>; readonly place: Place }
  | { readonly kind: 'value'; readonly value: unknown; readonly place: Place };

export type ConfigTable = Extract<ConfigNode, { kind: 'table' }>;

/** One file of containerd's configuration, parsed. */
export interface ConfigFile {
  readonly path: string;
  readonly table: Readonly<Record<string, unknown>>;
  readonly lineOf: LineOf;
}

/** Settings of containerd are at most six tables deep; a text can nest as deep as it is long. */
const DEPTH_MAX = 16;

/** The part of a file below a path of keys. */
export function treeOf(file: ConfigFile, keys: readonly string[]): ConfigNode | undefined {
  let value: unknown = file.table;
  for (const key of keys) {
    if (!isPlainTable(value) || !Object.hasOwn(value, key)) return undefined;
    value = value[key];
  }
  return toNode(file, keys, value);
}

function toNode(file: ConfigFile, keys: readonly string[], value: unknown): ConfigNode {
  const place = { file: file.path, line: file.lineOf(keys) ?? 1 };
  if (!isPlainTable(value) || keys.length >= DEPTH_MAX) return { kind: 'value', value, place };
  const entries = Object.entries(value).map(([key, inner]) => [key, toNode(file, [...keys, key], inner)] as const);
  return { kind: 'table', entries: new Map(entries), place };
}

function isPlainTable(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);
}

export function tableAt(node: ConfigNode | undefined, ...keys: readonly string[]): ConfigTable | undefined {
  const found = nodeAt(node, ...keys);
  return found?.kind === 'table' ? found : undefined;
}

export function nodeAt(node: ConfigNode | undefined, ...keys: readonly string[]): ConfigNode | undefined {
  return keys.reduce<ConfigNode | undefined>(
    (at, key) => (at?.kind === 'table' ? at.entries.get(key) : undefined),
    node,
  );
}

/** Tables become one, and whatever else comes later takes the place of what was there: what containerd 2 does. */
export function mergeDeep(below: ConfigNode | undefined, above: ConfigNode): ConfigNode {
  if (below?.kind !== 'table' || above.kind !== 'table') return above;
  const entries = new Map(below.entries);
  for (const [key, node] of above.entries) entries.set(key, mergeDeep(entries.get(key), node));
  return { ...below, entries };
}

/** The table with these entries put in the place of its own. */
export function withEntries(table: ConfigTable, entries: Iterable<readonly [string, ConfigNode]>): ConfigTable {
  return { ...table, entries: new Map([...table.entries, ...entries]) };
}
