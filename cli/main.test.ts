import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';

const MAIN = path.join(import.meta.dirname, 'main.ts');

function run(args: readonly string[], nodeArgs: readonly string[] = []) {
  return spawnSync(process.execPath, [...nodeArgs, MAIN, ...args], { encoding: 'utf8', env: {} });
}

/** The packages that a run of the command loads. */
function packagesLoadedBy(t: TestContext, args: readonly string[]): readonly string[] {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-main-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const listener = path.join(folder, 'listener.mjs');
  const list = path.join(folder, 'loaded');
  fs.writeFileSync(
    listener,
    `import fs from 'node:fs';
     import { registerHooks } from 'node:module';
     registerHooks({ load: (url, context, next) => { fs.appendFileSync(${JSON.stringify(list)}, url + '\\n'); return next(url, context); } });`,
  );
  const { status, stderr } = run(args, ['--import', listener]);
  assert.equal(status, 0, stderr);
  const packages = fs.readFileSync(list, 'utf8').matchAll(/\/node_modules\/((?:@[^/]+\/)?[^/]+)\//g);
  return [...new Set([...packages].map(([, name]) => name as string))].toSorted();
}

test('the exit code and the streams are those of the command', () => {
  const { status, stdout, stderr } = run(['configure', '--tags', 'stale']);

  assert.equal(status, 2);
  assert.equal(stdout, '');
  assert.match(stderr, /tags \(--tags\): "stale" is not one of its values; use one of fresh, mirror-first, off/);
});

test('help loads nothing but the parser', (t) => {
  assert.deepEqual(packagesLoadedBy(t, ['mirror', '--help']), ['commander']);
});

test('cleanup loads what knows hosts.toml, and nothing of a mirror', (t) => {
  assert.deepEqual(packagesLoadedBy(t, ['cleanup', '--certs-dir', '/nonexistent']), ['commander', 'smol-toml']);
});
