/** The rules of the house that no linter sees. Each comes with a file that breaks it, so that no rule is blind. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';

const ROOT = path.join(import.meta.dirname, '..');

interface Source {
  /** Relative to the root, with forward slashes. */
  readonly file: string;
  readonly text: string;
}

interface Rule {
  readonly title: string;
  /** What breaks the rule in this file. */
  readonly broken: (source: Source) => readonly string[];
  /** A file that breaks it. */
  readonly example: Source;
}

/** The rooms of docs/design.md: a room may import from itself and from the rooms named here, and from nothing else. */
const ROOMS: Readonly<Record<string, readonly string[]>> = {
  cli: ['mirror', 'webhook', 'containerd', 'certs', 'common'],
  mirror: ['containerd', 'certs', 'common'],
  webhook: ['containerd', 'certs', 'common'],
  containerd: ['certs', 'common'],
  certs: ['common'],
  common: [],
};

/** Packages, by how their names start, and the only places that may know them. What is not listed may not be used. */
const PACKAGES: Readonly<Record<string, readonly string[]>> = {
  '@bufbuild/protobuf': ['containerd/api/'],
  '@kubernetes/client-node': ['webhook/kube/'],
  '@chainsafe/': ['mirror/swarm/'],
  '@libp2p/': ['mirror/swarm/'],
  '@multiformats/': ['mirror/swarm/'],
  commander: ['cli/'],
  fastify: ['webhook/', 'common/http/'],
  jose: ['mirror/registry/'],
  'node-forge': ['certs/'],
  libp2p: ['mirror/swarm/'],
  multiformats: ['mirror/swarm/'],
  'prom-client': ['mirror/', 'webhook/', 'common/'],
  'datastore-core': ['mirror/swarm/'],
  'interface-datastore': ['mirror/swarm/'],
  'smol-toml': ['containerd/'],
  yaml: ['common/config/', 'webhook/kube/'],
};

/** A file is read in one sitting. */
const FILE_LINES_MAX = 400;

/** Hosts that package managers fetch from: a tree that names one works on one network only. In pieces, to not name them. */
const PACKAGE_HOSTS = ['registry npmjs org', 'proxy golang org', 'sum golang org', 'deb debian org', 'pypi org'].map(
  (pieces) => pieces.replaceAll(' ', '.'),
);

/** Words of what is not done, and ways to not run a test; in pieces for the same reason. */
const UNFINISHED = new RegExp(
  [
    `\\b(${['TO', 'FIX', 'HA'].map((start, index) => start + ['DO', 'ME', 'CK'][index]).join('|')})\\b`,
    `\\b(test|describe|it|suite)\\.(${['skip', 'todo', 'only'].join('|')})\\(`,
    `@ts-(${['ignore', 'nocheck'].join('|')})`,
  ].join('|'),
);

/** Where this very checkout lies, when that is a name that nobody writes by chance, and people's home folders; two are of GKE's nodes. */
const MACHINE_PATHS = new RegExp(
  `${ROOT.split('/').length > 2 ? `(?<![\\w.)}>])${RegExp.escape(ROOT)}(?![\\w-])|` : ''}/(?:home|Users)/(?!kubernetes/|containerd/)[a-z]\\w*/`,
  'g',
);

const RULES: readonly Rule[] = [
  {
    title: 'rooms import only downwards',
    broken: (source) => imports(source).filter((specifier) => crossesWall(source.file, specifier)),
    example: { file: 'common/log.ts', text: "import { startMirror } from '../mirror/mirror.ts';" },
  },
  {
    title: 'packages stay where they belong',
    broken: (source) => imports(source).filter((specifier) => isStray(source.file, specifier)),
    example: { file: 'mirror/mirror.ts', text: "const { load } = await import('@kubernetes/client-node');" },
  },
  {
    title: 'only cli/main.ts reads the environment, handles signals and exits',
    broken: ({ file, text }) =>
      isRoom(file) && !isTest(file) && file !== 'cli/main.ts'
        ? matches(text, /\bprocess\.(env|exit|exitCode|on|once|kill)\b/g)
        : [],
    example: { file: 'mirror/mirror.ts', text: "const zone = process.env['ZONE'];" },
  },
  {
    title: `no file is longer than ${FILE_LINES_MAX} lines`,
    broken: ({ file, text }) => {
      const lines = text.split('\n').length - 1;
      return isCode(file) && lines > FILE_LINES_MAX ? [`${lines} lines`] : [];
    },
    example: { file: 'mirror/mirror.ts', text: '\n'.repeat(FILE_LINES_MAX + 1) },
  },
  {
    title: 'files are named in kebab-case for what they export: no index, no utils, no helpers',
    broken: ({ file }) => {
      const name = path.posix.basename(file);
      if (!isCode(file)) return [];
      return /^(index|utils?|helpers?|misc|common)\./.test(name) || !/^[a-z0-9]+([-.][a-z0-9]+)*$/.test(name)
        ? [name]
        : [];
    },
    example: { file: 'common/index.ts', text: '' },
  },
  {
    title: 'nothing is exported by default',
    broken: ({ file, text }) => (isCode(file) ? matches(text, /^export default\b|\bas default\b/gm) : []),
    example: { file: 'common/log.ts', text: `export ${'default'} {};` },
  },
  {
    title: 'no key is committed',
    broken: ({ text }) => [
      ...matches(text, /-----BEGIN [A-Z ]*PRIVATE KEY-----/g),
      ...matches(text, /^[0-9a-f]{64}$/gim).map(() => 'a line that is a swarm key'),
    ],
    example: { file: 'test/swarm.key', text: `${'0f'.repeat(32)}\n` },
  },
  {
    title: 'no path of the machine it was written on',
    broken: ({ text }) => matches(text, MACHINE_PATHS),
    example: { file: 'docs/design.md', text: `see /${'home'}/somebody/miroir` },
  },
  {
    title: 'no host of a package registry',
    broken: ({ text }) => PACKAGE_HOSTS.filter((host) => text.includes(host)),
    example: { file: 'Makefile', text: `curl https://${PACKAGE_HOSTS[0]}/node` },
  },
  {
    title: 'nothing is left unfinished, and no test is left out',
    broken: ({ file, text }) =>
      isCode(file) || file.endsWith('.md') ? (UNFINISHED.exec(text)?.slice(0, 1) ?? []) : [],
    example: { file: 'common/log.test.ts', text: `test.${'skip'}('a fact', () => {});` },
  },
];

/** The ports, the suite that says what each promises, and everything that must keep the promise. */
const PORTS = [
  {
    port: 'mirror/swarm/router.ts',
    suite: 'test/conformance/router-suite.ts',
    implementations: ['mirror/swarm/one-hop.ts', 'mirror/swarm/kad.ts', 'mirror/swarm/memory.ts'],
  },
  {
    port: 'mirror/store/store.ts',
    suite: 'test/conformance/store-suite.ts',
    implementations: ['mirror/store/containerd-store.ts', 'mirror/store/memory-store.ts'],
  },
] as const;

const TREE = readTree();

for (const { title, broken, example } of RULES) {
  test(title, () => {
    assert.notDeepEqual(broken(example), [], 'the rule does not see what breaks it');
    const found = TREE.flatMap((source) => broken(source).map((what) => `${source.file}: ${what}`));
    assert.deepEqual(found, []);
  });
}

for (const { port, suite, implementations } of PORTS) {
  test(`all that implements ${port} passes ${suite}`, () => {
    const tests = TREE.filter(({ file }) => isTest(file)).map(reach);
    for (const implementation of implementations) {
      const covering = tests.filter((imported) => imported.includes(suite) && imported.includes(implementation));
      assert.notDeepEqual(covering, [], `no test runs ${suite} on ${implementation}`);
    }
  });
}

test('every error code is thrown somewhere and documented, and no other is', () => {
  const declared = matches(textOf('common/errors.ts'), /'ERR_[A-Z_]+'/g).map((code) => code.slice(1, -1));
  const documented = matches(textOf('docs/reference/errors.md'), /^### `ERR_[A-Z_]+`/gm).map((line) =>
    line.slice(5, -1),
  );
  assert.deepEqual(documented, declared);
  const code = TREE.filter(({ file }) => isRoom(file) && !isTest(file) && file !== 'common/errors.ts');
  const unused = declared.filter((name) => !code.some(({ text }) => text.includes(`'${name}'`)));
  assert.deepEqual(unused, []);
});

test('every metric is documented, and no other is', () => {
  const code = TREE.filter(({ file }) => isRoom(file) && !isTest(file));
  const made = code.flatMap(({ text }) => matches(text, /'miroir_[a-z_]+'/g).map((name) => name.slice(1, -1)));
  const documented = matches(textOf('docs/reference/metrics.md'), /^\| `miroir_[a-z_]+`/gm).map((row) =>
    row.slice(3, -1),
  );
  assert.deepEqual(documented.toSorted(), [...new Set(made)].toSorted());
});

test('links between the documents lead somewhere', () => {
  const broken = TREE.filter(({ file }) => file.endsWith('.md')).flatMap(({ file, text }) =>
    [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)/g)]
      .map(([, target]) => target as string)
      .filter((target) => !fs.existsSync(path.join(ROOT, path.dirname(file), target)))
      .map((target) => `${file}: ${target}`),
  );
  assert.deepEqual(broken, []);
});

/** Everything that is or could be committed, but for lists of versions and what is no text. */
function readTree(): Source[] {
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: ROOT,
    encoding: 'utf8',
  });
  const files = listed.split('\0').filter((file) => file !== '' && !/(^|\/)(package-lock\.json|go\.sum)$/.test(file));
  const sources = files.flatMap((file) => {
    const absolute = path.join(ROOT, file);
    if (!fs.existsSync(absolute)) return []; // Deleted, and not yet committed.
    const text = fs.readFileSync(absolute, 'utf8');
    return text.includes('\0') ? [] : [{ file, text }];
  });
  assert.ok(sources.length > 0, 'no files were found');
  return sources;
}

function textOf(file: string): string {
  return TREE.find((source) => source.file === file)?.text ?? assert.fail(`there is no ${file}`);
}

function matches(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map(([match]) => match);
}

function isCode(file: string): boolean {
  return /\.(ts|js|mjs)$/.test(file);
}

function isTest(file: string): boolean {
  return file.endsWith('.test.ts');
}

function roomOf(file: string): string {
  return file.split('/')[0] as string;
}

function isRoom(file: string): boolean {
  return isCode(file) && roomOf(file) in ROOMS;
}

function imports({ file, text }: Source): string[] {
  if (!isCode(file)) return [];
  return [...text.matchAll(/(?:\bfrom\s+|\bimport\s*\(?\s*)['"]([^'"]+)['"]/g)].map(
    ([, specifier]) => specifier as string,
  );
}

/** The files that a test imports, those that its fixtures below test/ import, and so on. */
function reach(source: Source): string[] {
  const reached = new Set<string>();
  const queue = [source];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const folder = path.posix.dirname(next.file);
    for (const specifier of imports(next).filter(isRelative)) {
      const file = path.posix.join(folder, specifier);
      const fixture = file.startsWith('test/') && !reached.has(file) && TREE.find((other) => other.file === file);
      if (fixture) queue.push(fixture);
      reached.add(file);
    }
  }
  return [...reached];
}

function isRelative(specifier: string): boolean {
  return specifier.startsWith('.');
}

function crossesWall(file: string, specifier: string): boolean {
  if (!isRoom(file) || !isRelative(specifier)) return false;
  const room = roomOf(file);
  const target = roomOf(path.posix.join(path.posix.dirname(file), specifier));
  return target !== room && !ROOMS[room]?.includes(target) && !(isTest(file) && target === 'test');
}

function isStray(file: string, specifier: string): boolean {
  if (!isRoom(file) || isTest(file) || isRelative(specifier) || specifier.startsWith('node:')) return false;
  const known = Object.entries(PACKAGES).find(
    ([name]) => specifier === name || specifier.startsWith(name.endsWith('/') ? name : `${name}/`),
  );
  return known === undefined || !known[1].some((folder) => file.startsWith(folder));
}
