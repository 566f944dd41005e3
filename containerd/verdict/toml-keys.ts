import { parse } from 'smol-toml';
import { endOfStatement, endOfString, skipBlanks } from '../toml-lines.ts';

/** Tells the line, from 1, on which a path of keys is set, or the nearest table around it; undefined when neither is there. */
export type LineOf = (keys: readonly string[]) => number | undefined;

/**
 * Finds the lines of a TOML text that is known to be valid: the parser gives values and no positions. What stands inside
 * an inline table or an array has the line where its statement begins. Of a key that is there twice, as in arrays of
 * tables, the last one counts. The text is read at the first question.
 */
export function indexLines(text: string): LineOf {
  let lines: ReadonlyMap<string, number> | undefined;
  return (keys) => {
    lines ??= readLines(text);
    for (let length = keys.length; length > 0; length -= 1) {
      const line = lines.get(nameOf(keys.slice(0, length)));
      if (line !== undefined) return line;
    }
    return undefined;
  };
}

/** Of longer keys only the beginning is kept: containerd has none, and a text may be one single key. */
const KEYS_MAX = 16;

function readLines(text: string): ReadonlyMap<string, number> {
  const lines = new Map<string, number>();
  let table: readonly string[] = [];
  let line = 1;
  for (let at = 0; at < text.length; ) {
    const first = skipBlanks(text, at);
    const end = endOfStatement(text, first);
    const isHeader = text[first] === '[';
    const key = isHeader
      ? parseKey(text, text[first + 1] === '[' ? first + 2 : first + 1, ']')
      : parseKey(text, first, '=');
    if (key !== undefined) {
      const keys = (isHeader ? key : [...table, ...key]).slice(0, KEYS_MAX);
      if (isHeader) table = keys;
      for (let length = 1; length <= keys.length; length += 1) {
        const name = nameOf(keys.slice(0, length));
        // A table around others need not have a line of its own.
        if (length === keys.length || !lines.has(name)) lines.set(name, line);
      }
    }
    line += text.slice(at, end).split('\n').length - 1;
    at = end;
  }
  return lines;
}

/** The dotted key that begins here and ends before `close`; undefined where no key is, as in a comment. */
function parseKey(text: string, from: number, close: ']' | '='): readonly string[] | undefined {
  let at = from;
  while (at < text.length && text[at] !== close) {
    const char = text[at];
    if (char === '\n' || char === '#') return undefined;
    at = char === '"' || char === "'" ? endOfString(text, at, char) : at + 1;
  }
  const keys: string[] = [];
  for (let value: unknown = parse(`${text.slice(from, at)}=0`); isRecord(value); ) {
    const [entry] = Object.entries(value);
    if (entry === undefined) break;
    keys.push(entry[0]);
    value = entry[1];
  }
  return keys;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

/** No key can hold a line break in a name: TOML has it escaped, and JSON escapes it again. */
function nameOf(keys: readonly string[]): string {
  return JSON.stringify(keys);
}
