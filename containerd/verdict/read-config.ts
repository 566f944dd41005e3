import fs from 'node:fs/promises';
import path from 'node:path';
import { parse, TomlError } from 'smol-toml';
import type { ConfigFile } from './config-tree.ts';
import { type ContainerdVersion, isAtLeast } from './containerd-version.ts';
import { indexLines } from './toml-keys.ts';

/** Why the configuration could not be read to its end. */
export interface ConfigProblem {
  readonly kind: 'absent' | 'unreadable' | 'invalid' | 'too-large' | 'too-many-files';
  readonly file: string;
  readonly line: number | undefined;
  /** In words, for the end of a sentence that begins with the file's name. */
  readonly what: string;
}

/** containerd's configuration as its files say it. */
export interface ConfigRead {
  /** In the order in which containerd loads them; those before the problem, when there is one. */
  readonly files: readonly ConfigFile[];
  readonly problem: ConfigProblem | undefined;
  /** When the last of the files was changed. */
  readonly changedAtMs: number;
  /** Names the files and when each was written: another text means that something changed. */
  readonly stamp: string;
  /** The files, and the folders that hold them or could hold more: what to watch. */
  readonly watched: readonly string[];
}

/** The longest that distributions ship has 20 KB; a larger one is no configuration, and must not cost memory. */
export const CONFIG_BYTES_MAX = 1024 * 1024;
/** Drop-ins come one per add-on. containerd has no limit, and neither would a pattern that finds itself in new spellings. */
export const CONFIG_FILES_MAX = 64;
/** Names in one folder that a pattern is held against. */
const GLOB_ENTRIES_MAX = 4096;

/**
 * Reads a configuration and what it imports as containerd does: the main file, its imports, theirs, each file once. Never
 * throws for what is on the disk: what is wrong is the result's problem. Paths are the node's; `root` is where its files
 * are seen from here.
 */
export async function readConfig(
  file: string,
  version: ContainerdVersion | undefined,
  root = '/',
): Promise<ConfigRead> {
  const files: ConfigFile[] = [];
  const watched = new Set<string>();
  const pending = [file];
  const seen = new Set<string>();
  const stamps: string[] = [];
  let changedAtMs = 0;
  let problem: ConfigProblem | undefined;
  for (let next = pending.shift(); next !== undefined && problem === undefined; next = pending.shift()) {
    if (seen.has(next)) continue; // As containerd does, so that a circle of imports ends.
    seen.add(next);
    watched.add(next);
    if (seen.size > CONFIG_FILES_MAX) {
      problem = { kind: 'too-many-files', file, line: undefined, what: `leads to more than ${CONFIG_FILES_MAX} files` };
      break;
    }
    const read = await readFile(next, root);
    if ('what' in read) {
      problem = read;
      stamps.push(`${read.file} ${read.what}`);
      break;
    }
    files.push(read.file);
    stamps.push(`${next} ${read.changedAtMs}`);
    changedAtMs = Math.max(changedAtMs, read.changedAtMs);
    const { imports = [] } = read.file.table;
    if (!Array.isArray(imports) || !imports.every((item) => typeof item === 'string')) {
      problem = {
        kind: 'invalid',
        file: next,
        line: read.file.lineOf(['imports']),
        what: 'has imports that are no list of paths',
      };
      break;
    }
    for (const item of imports as readonly string[])
      pending.push(...(await resolveImport(item, next, { version, root, watched })));
  }
  return { files, problem, changedAtMs, stamp: stamps.join('\n'), watched: [...watched] };
}

async function readFile(
  file: string,
  root: string,
): Promise<ConfigProblem | { readonly file: ConfigFile; readonly changedAtMs: number }> {
  let text: string;
  let changedAtMs: number;
  try {
    const stat = await fs.stat(path.join(root, file));
    // Opening a pipe would wait for its other end.
    if (!stat.isFile()) return { kind: 'unreadable', file, line: undefined, what: 'is not a file' };
    if (stat.size > CONFIG_BYTES_MAX) {
      return {
        kind: 'too-large',
        file,
        line: undefined,
        what: `has ${stat.size} bytes, more than ${CONFIG_BYTES_MAX}`,
      };
    }
    text = await fs.readFile(path.join(root, file), 'utf8');
    changedAtMs = stat.mtimeMs;
  } catch (error) {
    return unreadable(file, error);
  }
  try {
    const table = parse(text, { integersAsBigInt: 'asNeeded' });
    return { file: { path: file, table, lineOf: indexLines(text) }, changedAtMs };
  } catch (error) {
    // Whatever a text does to its parser, it is no configuration.
    if (!(error instanceof TomlError))
      return { kind: 'invalid', file, line: undefined, what: `is no TOML: ${String(error)}` };
    const what = `is no TOML: ${error.message.split('\n')[0]?.replace('Invalid TOML document: ', '')}`;
    return { kind: 'invalid', file, line: error.line, what };
  }
}

function unreadable(file: string, error: unknown): ConfigProblem {
  if (!(error instanceof Error && 'code' in error)) throw error;
  if (error.code === 'ENOENT' || error.code === 'ENOTDIR') {
    return { kind: 'absent', file, line: undefined, what: 'is not there' };
  }
  return { kind: 'unreadable', file, line: undefined, what: `cannot be read (${error.message})` };
}

interface ImportContext {
  readonly version: ContainerdVersion | undefined;
  readonly root: string;
  readonly watched: Set<string>;
}

/** The files that one import names, as Go's filepath.Glob finds them when there is a star in it. */
async function resolveImport(
  item: string,
  from: string,
  { version, root, watched }: ImportContext,
): Promise<readonly string[]> {
  const isPattern = item.includes('*');
  // 1.6 looks for patterns from its own working directory, which is / for a service.
  const base = isPattern && version !== undefined && !isAtLeast(version, 1, 7) ? '/' : path.dirname(from);
  const full = path.resolve(base, item);
  return isPattern ? glob(full, root, watched) : [full];
}

async function glob(pattern: string, root: string, watched: Set<string>): Promise<readonly string[]> {
  let found: readonly string[] = ['/'];
  for (const part of pattern.split('/').filter((name) => name !== '')) {
    const matcher = patternOf(part);
    if (matcher === undefined) {
      found = found.map((folder) => path.join(folder, part));
      continue;
    }
    const next: string[] = [];
    for (const folder of found.slice(0, CONFIG_FILES_MAX)) {
      watched.add(folder);
      next.push(
        ...(await namesIn(path.join(root, folder)))
          .filter((name) => matcher.test(name))
          .map((name) => path.join(folder, name)),
      );
    }
    found = next;
  }
  const there: string[] = [];
  for (const file of found.slice(0, CONFIG_FILES_MAX + 1)) if (await isThere(path.join(root, file))) there.push(file);
  return there;
}

async function isThere(file: string): Promise<boolean> {
  try {
    await fs.lstat(file);
    return true;
  } catch {
    return false;
  }
}

async function namesIn(folder: string): Promise<readonly string[]> {
  try {
    return (await fs.readdir(folder)).sort().slice(0, GLOB_ENTRIES_MAX);
  } catch {
    return []; // To a pattern a folder that cannot be read is an empty one.
  }
}

/** Go's filepath.Match for one part of a path; undefined when it holds no pattern. */
function patternOf(part: string): RegExp | undefined {
  if (!/[*?[]/.test(part)) return undefined;
  const source = part.replace(/\[\^?[^\]]*\]|[\s\S]/g, (piece) => {
    if (piece === '*') return '.*';
    if (piece === '?') return '.';
    return piece.length > 1 ? piece : RegExp.escape(piece);
  });
  try {
    return new RegExp(`^(?:${source})$`, 's');
  } catch {
    return /^(?!)/; // Go calls such a pattern bad, and containerd does not start with it.
  }
}
