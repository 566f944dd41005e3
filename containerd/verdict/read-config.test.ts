import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { CONFIG_BYTES_MAX, CONFIG_FILES_MAX, readConfig } from './read-config.ts';

const V1_6 = { major: 1, minor: 6, patch: 20 };
const V2_4 = { major: 2, minor: 4, patch: 2 };

function folderOf(t: TestContext, files: Readonly<Record<string, string>>): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-config-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    fs.writeFileSync(path.join(folder, name), text);
  }
  return folder;
}

/** The names of the files that were read, relative to the folder. */
async function namesRead(folder: string, version = V2_4): Promise<readonly string[]> {
  const { files, problem } = await readConfig(path.join(folder, 'config.toml'), version);
  assert.equal(problem, undefined);
  return files.map((file) => path.relative(folder, file.path));
}

test('imports are read after the file, theirs after them, in the order of their names', async (t) => {
  const folder = folderOf(t, {
    'config.toml': 'imports = ["conf.d/*.toml", "last.toml"]',
    'conf.d/20.toml': 'version = 2',
    'conf.d/10.toml': 'imports = ["../inner.toml"]',
    'conf.d/notes.txt': 'not = "read"',
    'inner.toml': '',
    'last.toml': '',
  });

  assert.deepEqual(await namesRead(folder), [
    'config.toml',
    'conf.d/10.toml',
    'conf.d/20.toml',
    'last.toml',
    'inner.toml',
  ]);
});

test('imports that go round in a circle are each read once', async (t) => {
  const folder = folderOf(t, {
    'config.toml': 'imports = ["a.toml"]',
    'a.toml': 'imports = ["config.toml", "a.toml"]',
  });

  assert.deepEqual(await namesRead(folder), ['config.toml', 'a.toml']);
});

test('a pattern may have stars in folders, question marks and classes', async (t) => {
  const folder = folderOf(t, {
    'config.toml': 'imports = ["*.d/[0-9]?-x.toml", "*/nowhere.toml"]',
    'a.d/10-x.toml': '',
    'a.d/x0-x.toml': '',
    'b.d/20-x.toml': '',
    'c/30-x.toml': '',
  });

  assert.deepEqual(await namesRead(folder), ['config.toml', 'a.d/10-x.toml', 'b.d/20-x.toml']);
});

test('containerd 1.6 does not look for patterns beside the file', async (t) => {
  const folder = folderOf(t, { 'config.toml': 'imports = ["conf.d/*.toml"]', 'conf.d/10.toml': '' });

  assert.deepEqual(await namesRead(folder, V1_6), ['config.toml']);
});

for (const { title, files, kind, what } of [
  { title: 'a file that is not there', files: {}, kind: 'absent', what: /is not there/ },
  {
    title: 'an import that is not there',
    files: { 'config.toml': 'imports = ["gone.toml"]' },
    kind: 'absent',
    what: /is not there/,
  },
  {
    title: 'a file that is no TOML',
    files: { 'config.toml': 'version = 2\n[plugins\n' },
    kind: 'invalid',
    what: /is no TOML: /,
  },
  {
    title: 'a key that is there twice',
    files: { 'config.toml': 'a = 1\na = 2\n' },
    kind: 'invalid',
    what: /is no TOML: /,
  },
  {
    title: 'imports of another type',
    files: { 'config.toml': '\nimports = "x"' },
    kind: 'invalid',
    what: /no list of paths/,
  },
  {
    title: 'a file of many megabytes',
    files: { 'config.toml': '#'.repeat(CONFIG_BYTES_MAX + 1) },
    kind: 'too-large',
    what: /more than 1048576/,
  },
  {
    title: 'a chain of imports that does not end',
    files: {
      'config.toml': 'imports = ["0.toml"]',
      ...Object.fromEntries(
        Array.from({ length: CONFIG_FILES_MAX + 2 }, (_, index) => [
          `${index}.toml`,
          `imports = ["${index + 1}.toml"]`,
        ]),
      ),
    },
    kind: 'too-many-files',
    what: /more than 64 files/,
  },
  {
    title: 'a folder in the place of a file',
    files: { 'config.toml/x': '' },
    kind: 'unreadable',
    what: /is not a file/,
  },
]) {
  test(`${title} is the problem: ${kind}`, async (t) => {
    const folder = folderOf(t, files);

    const { problem } = await readConfig(path.join(folder, 'config.toml'), V2_4);

    assert.equal(problem?.kind, kind);
    assert.match(problem.what, what);
  });
}

test('a pipe in the place of a file is a problem, and nobody waits at it', async (t) => {
  const folder = folderOf(t, {});
  execFileSync('mkfifo', [path.join(folder, 'config.toml')]);

  const { problem } = await readConfig(path.join(folder, 'config.toml'), V2_4);

  assert.equal(problem?.kind, 'unreadable');
});

test('the problem of a text that is no TOML has its line', async (t) => {
  const folder = folderOf(t, { 'config.toml': '# fine\nversion = 2\nversion = \n' });

  const { problem } = await readConfig(path.join(folder, 'config.toml'), V2_4);

  assert.equal(problem?.line, 3);
});
