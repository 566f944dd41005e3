import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { LIKE_BUILT } from './soak/soak-node.ts';

/** A `dist/` like the one that is built, whose bundle tells what it was started with. */
function installLauncher(t: TestContext): { readonly root: string; readonly launcher: string } {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-launcher-'));
  t.after(() => fs.rmSync(root, { recursive: true }));
  const launcher = path.join(root, 'dist/miroir');
  fs.mkdirSync(path.dirname(launcher));
  fs.copyFileSync(path.join(import.meta.dirname, '../scripts/launcher.sh'), launcher);
  fs.writeFileSync(`${launcher}.js`, 'console.log(JSON.stringify([process.execPath, process.argv.slice(2)]));');
  return { root, launcher };
}

/** A program that says it is a Node of this version, and tells how it is started. */
function fakeNode(file: string, version: string): string {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, `#!/bin/sh\n[ "$1" = --version ] && echo ${version} || echo "$0 $*"\n`, { mode: 0o755 });
  return file;
}

function run(launcher: string, env: Readonly<Record<string, string>>) {
  return spawnSync(launcher, ['version', 'a b'], { env: { PATH: '/usr/bin:/bin', ...env }, encoding: 'utf8' });
}

test('the launcher hands its arguments to the Node that is named, with flags that save memory', (t) => {
  const { launcher } = installLauncher(t);

  const { stdout, stderr } = run(launcher, { MIROIR_NODE: process.execPath });

  assert.equal(stderr, '');
  assert.deepEqual(JSON.parse(stdout), [process.execPath, ['version', 'a b']]);
});

test('the launcher takes the Node of the project before the one on the PATH, also when it is started through a link', (t) => {
  const { root, launcher } = installLauncher(t);
  fakeNode(path.join(root, 'node_modules/node/bin/node'), 'v26.1.0');
  const link = path.join(root, 'miroir-link');
  fs.symlinkSync(launcher, link);

  const { stdout } = run(link, {});

  assert.match(
    stdout,
    /node_modules\/node\/bin\/node --max-semi-space-size=\d+ --optimize-for-size .*dist\/miroir\.js version a b/,
  );
});

test('the image and the soak bound the young generation as the launcher does', () => {
  const read = (file: string) => fs.readFileSync(path.join(import.meta.dirname, '..', file), 'utf8');
  const [flag] = /--max-semi-space-size=\d+/.exec(read('scripts/launcher.sh')) ?? [];

  assert.equal(LIKE_BUILT.NODE_OPTIONS, flag);
  assert.match(read('Dockerfile'), new RegExp(`NODE_OPTIONS=${flag} `));
});

test('the launcher takes the Node on the PATH when there is no other', (t) => {
  const { root, launcher } = installLauncher(t);
  fakeNode(path.join(root, 'bin/node'), 'v100.0.0');

  assert.match(
    run(launcher, { PATH: `${root}/bin:/usr/bin:/bin` }).stdout,
    /\/bin\/node .*dist\/miroir\.js version a b/,
  );
});

for (const { title, version } of [
  { title: 'too old', version: 'v25.9.0' },
  { title: 'no Node at all', version: 'busybox' },
]) {
  test(`a Node that is ${title} is a mistake with a fix, exit 2`, (t) => {
    const { root, launcher } = installLauncher(t);

    const { status, stderr } = run(launcher, { MIROIR_NODE: fakeNode(path.join(root, 'node'), version) });

    assert.equal(status, 2);
    assert.match(
      stderr,
      /^miroir: needs Node 26 or newer, and .*\/node is not; run npm ci .* or name a Node with MIROIR_NODE\n$/,
    );
  });
}
