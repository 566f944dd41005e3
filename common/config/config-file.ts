import { type Document, isMap, isScalar, isSeq, LineCounter, parseDocument } from 'yaml';
import type { Mistake } from './mistake.ts';
import { nearest } from './nearest.ts';
import { quote } from './quote.ts';

/** What a file says about one setting. */
interface FileEntry {
  /** One text, or the items of a sequence. */
  readonly values: readonly string[];
  /** `/etc/miroir.yaml:3`. */
  readonly source: string;
}

export interface ConfigFile {
  /** By key. */
  readonly entries: ReadonlyMap<string, FileEntry>;
  readonly mistakes: readonly Mistake[];
}

/**
 * Reads a YAML mapping of settings to texts or sequences of texts. Nothing in it is resolved: no anchors, no tags, no
 * types; `on` and `080` are the texts they are.
 */
export function parseConfigFile(path: string, text: string, keys: readonly string[]): ConfigFile {
  const lines = new LineCounter();
  const sourceAt = (offset: number | undefined) =>
    offset === undefined ? path : `${path}:${lines.linePos(offset).line || 1}`;
  const entries = new Map<string, FileEntry>();
  const mistakes: Mistake[] = [];
  const document = parseYaml(text, lines);
  const fault = [...(document?.errors ?? []), ...(document?.warnings ?? [])][0];
  if (fault !== undefined) {
    // The first one alone: those after it are mostly its consequences.
    const wrong = `it is not the YAML that is read here: ${quote(fault.message)}`;
    mistakes.push({ name: 'config', source: sourceAt(fault.pos[0]), wrong, fix: 'write one key: value a line' });
    return { entries, mistakes };
  }
  const contents = document?.contents;
  if (document !== undefined && contents === null) return { entries, mistakes }; // An empty file, or comments alone.
  if (!isMap(contents)) {
    const wrong = 'it is not a mapping of settings to values';
    mistakes.push({ name: 'config', source: path, wrong, fix: 'write one key: value a line' });
    return { entries, mistakes };
  }
  for (const { key, value } of contents.items) {
    const source = sourceAt((isScalar(key) || isMap(key) || isSeq(key) ? key.range : undefined)?.[0]);
    const name = isScalar(key) ? String(key.value) : '';
    const mistake = (wrong: string, fix: string) => mistakes.push({ name: name || 'config', source, wrong, fix });
    const values = textsOf(value);
    if (!keys.includes(name)) {
      const meant = nearest(name, keys);
      mistakes.push({
        name: quote(name),
        source,
        wrong: 'there is no such setting',
        fix: meant === undefined ? 'take the line out' : `did you mean ${meant}?`,
      });
    } else if (entries.has(name)) {
      mistake(`it is set before, at ${entries.get(name)?.source}`, 'keep one of the two');
    } else if (values === undefined) {
      mistake('its value is neither a text nor a sequence of texts', 'write it in quotes, or as a sequence of texts');
    } else {
      entries.set(name, { values, source });
    }
  }
  return { entries, mistakes };
}

function parseYaml(text: string, lineCounter: LineCounter): Document.Parsed | undefined {
  try {
    // The failsafe schema knows texts, sequences and mappings only.
    return parseDocument(text, { schema: 'failsafe', prettyErrors: false, uniqueKeys: false, lineCounter });
  } catch {
    return undefined; // Nested so deeply that the parser's stack ended: no mapping of ours.
  }
}

function textsOf(value: unknown): readonly string[] | undefined {
  if (value === null) return [''];
  if (!isSeq(value)) {
    const text = textOf(value);
    return text === undefined ? undefined : [text];
  }
  const texts = value.items.map(textOf);
  return texts.every((text) => text !== undefined) ? texts : undefined;
}

/** A value with a tag of its own (`!!binary`) would mean something else than what stands there. */
function textOf(value: unknown): string | undefined {
  return isScalar(value) && value.tag === undefined ? String(value.value) : undefined;
}
