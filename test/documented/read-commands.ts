import fs from 'node:fs';
import path from 'node:path';

export const ROOT = path.join(import.meta.dirname, '..', '..');

/** Pages that people read to know what to type; folders stand for the pages in them. Decisions tell of what once was. */
const PAGES = [
  'README.md',
  'CONTRIBUTING.md',
  'charts/miroir/README.md',
  'docs',
  'docs/guides',
  'docs/reference',
  'test/lab/README.md',
];

/** By which a span of code in a sentence is known for a command; in a block of the language `sh` everything is one. */
const PROGRAMS =
  'apt-get bash buildah cd crictl ctr curl dist/miroir docker git go helm install kubectl kustomize ln make miroir mkdir node npm npx openssl podman promtool rm sudo systemctl talosctl'.split(
    ' ',
  );

export interface Written {
  readonly page: string;
  /** In one line, without the comment behind it. */
  readonly command: string;
}

/** Every command that the pages tell people to run, as it is written there. */
export function readCommands(): readonly Written[] {
  const files = PAGES.flatMap((page) =>
    page.endsWith('.md')
      ? [page]
      : fs
          .readdirSync(path.join(ROOT, page))
          .filter((name) => name.endsWith('.md'))
          .map((name) => `${page}/${name}`),
  );
  return files.flatMap((page) =>
    commandsOf(fs.readFileSync(path.join(ROOT, page), 'utf8')).map((command) => ({ page, command })),
  );
}

export function commandsOf(markdown: string): readonly string[] {
  const blocks: string[] = [];
  const prose = markdown.replaceAll(/^( *)```(\w*)\n([\s\S]*?)^ *```$/gm, (_, _indent, language, text) => {
    if (language === 'sh') blocks.push(text);
    return '';
  });
  const spans = [...prose.matchAll(/`([^`]+)`/g)].map(([, text]) => (text as string).replaceAll(/\s+/g, ' '));
  return [...blocks.flatMap(commandsOfBlock), ...spans.filter(isCommand)];
}

/** A line that ends in `&&` or a backslash goes on in the next one; one that begins with a flag belongs to a program that was named before. */
function commandsOfBlock(block: string): readonly string[] {
  const lines = block.split('\n').map((line) => line.replace(/(^|\s)#.*$/, '').trim());
  const joined = lines
    .join('\n')
    .replaceAll(/ *\\\n/g, ' ')
    .replaceAll(/&&\n/g, '&& ');
  return joined.split('\n').filter((line) => line !== '' && !line.startsWith('-'));
}

/** `miroir/1/<key id>` and `miroir.dev/gate` are none: a program is followed by what it is to do. */
function isCommand(span: string): boolean {
  const [program = '', ...rest] = span.split(' ');
  return PROGRAMS.includes(program) && rest.length > 0;
}
