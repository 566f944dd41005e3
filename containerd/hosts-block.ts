import { MiroirError } from '../common/errors.ts';

/** What a block of ours says about itself and about the file it is in. */
export interface BlockMarks {
  readonly tags: TagsMode;
  /** The mirror's address, `host:port`. */
  readonly mirror: string;
  /** The file was not there before. */
  readonly isFileMade: boolean;
  /** How many folders were not there before: the file's own, the one above it, and so on. */
  readonly foldersMade: number;
}

/**
 * Who resolves tags. `fresh`: the registry, and the mirror when the registry fails; `mirror-first`: the mirror, and the
 * registry when no peer knows the tag; `off`: the registry alone.
 */
export type TagsMode = 'fresh' | 'mirror-first' | 'off';

const TAGS_MODES: readonly TagsMode[] = ['fresh', 'mirror-first', 'off'];

const BEGIN = '# miroir:begin';
const END = '# miroir:end';
const NOTICE = '# Kept by `miroir configure`, taken out by `miroir cleanup`; changes between these marks are lost.';
const NEWLINE_ADDED = 'newline=added';

/** A block as it stands in a file; `lines` are ours, `before` is the text that it comes after. */
export function formatBlock(marks: BlockMarks, lines: readonly string[], before: string, eol: string): string {
  const needsNewline = before !== '' && !before.endsWith('\n');
  const begin = [
    BEGIN,
    `tags=${marks.tags}`,
    `mirror=${marks.mirror}`,
    ...(marks.isFileMade ? ['file=made'] : []),
    ...(marks.foldersMade > 0 ? [`folders=${marks.foldersMade}`] : []),
    ...(needsNewline ? [NEWLINE_ADDED] : []),
  ].join(' ');
  return `${needsNewline ? eol : ''}${[begin, NOTICE, ...lines, END].join(eol)}${eol}`;
}

export interface StrippedText {
  /** The text without our blocks: byte for byte what was there before them. */
  readonly base: string;
  /** Undefined when the text has no block of ours. */
  readonly marks: BlockMarks | undefined;
}

const BEGIN_LINE = /^(\uFEFF|\xEF\xBB\xBF)?# miroir:begin((?: [^\r\n]*)?)\r?\n?$/;
const END_LINE = /^# miroir:end\r?\n?$/;

/**
 * Takes our blocks out. The text may be read as UTF-8 or byte by byte (latin1), and need not be TOML. Throws
 * ERR_HOSTS_FILE_INVALID when a block does not end.
 */
export function stripBlocks(text: string, file: string): StrippedText {
  let base = '';
  let marks: BlockMarks | undefined;
  let beganAt: number | undefined;
  let addedNewlineAt: number | undefined;
  for (const [index, line] of (text.match(/[^\n]*\n|[^\n]+$/g) ?? []).entries()) {
    const begin = BEGIN_LINE.exec(line);
    if (beganAt !== undefined) {
      if (begin !== null) throw unended(file, beganAt);
      if (END_LINE.test(line)) beganAt = undefined;
    } else if (begin !== null) {
      beganAt = index + 1;
      base += begin[1] ?? '';
      const words = (begin[2] ?? '').trim().split(' ');
      marks ??= parseMarks(words);
      addedNewlineAt = words.includes(NEWLINE_ADDED) ? base.length : undefined;
    } else {
      base += line;
    }
  }
  if (beganAt !== undefined) throw unended(file, beganAt);
  // What people have added below our block since then needs that newline.
  if (addedNewlineAt === base.length) base = base.replace(/\r?\n$/, '');
  return { base, marks };
}

function parseMarks(words: readonly string[]): BlockMarks {
  const values = new Map(words.map((word) => word.split('=', 2) as [string, string]));
  const tags = TAGS_MODES.find((mode) => mode === values.get('tags')) ?? 'fresh';
  return {
    tags,
    mirror: values.get('mirror') ?? '',
    isFileMade: values.get('file') === 'made',
    foldersMade: /^\d{1,2}$/.test(values.get('folders') ?? '') ? Number(values.get('folders')) : 0,
  };
}

function unended(file: string, line: number): MiroirError {
  const message = `${file}:${line} begins with "${BEGIN}" a part of Miroir's that "${END}" never ends: put that line back, or take the part out`;
  return new MiroirError('ERR_HOSTS_FILE_INVALID', message);
}
