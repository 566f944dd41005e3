import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { flagName } from '../common/config/setting.ts';
import { settingsOf } from '../common/config/settings.ts';
import { runProgram } from './program.ts';

async function run(args: readonly string[], env: Readonly<Record<string, string>> = {}) {
  let stdout = '';
  let stderr = '';
  const deps = {
    env,
    readFile: (file: string) => fs.promises.readFile(file, 'utf8'),
    stdout: (text: string) => {
      stdout += text;
    },
    stderr: (text: string) => {
      stderr += text;
    },
    columns: undefined,
  };
  const exitCode = await runProgram(deps, args, new AbortController().signal);
  return { exitCode, stdout, stderr };
}

/** A folder that is gone when the test ends. */
function temporaryFolder(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-cli-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  return folder;
}

const oneLine = (text: string) => text.replace(/\s+/g, ' ');

for (const command of ['mirror', 'webhook', 'agent', 'configure', 'cleanup'] as const) {
  test(`miroir ${command} --help tells each of its settings, with its default`, async () => {
    const { exitCode, stdout } = await run([command, '--help']);

    assert.equal(exitCode, 0);
    for (const [name, setting] of settingsOf(command)) {
      assert.ok(stdout.includes(`--${flagName(name)} <${setting.kind.placeholder}>`), name);
      assert.ok(oneLine(stdout).includes(`(default: ${setting.default})`) || setting.default === undefined, name);
    }
    assert.match(stdout, /--config <path>/);
  });
}

test('--help tells the commands and exits 0', async () => {
  const { exitCode, stdout, stderr } = await run(['--help']);

  assert.equal(exitCode, 0);
  assert.equal(stderr, '');
  const commands = [...stdout.matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name);
  assert.deepEqual(commands, [
    'mirror',
    'webhook',
    'agent',
    'configure',
    'cleanup',
    'check',
    'status',
    'verify',
    'uninstall',
    'version',
    'help',
  ]);
});

for (const args of [['version'], ['--version']]) {
  test(`miroir ${args.join(' ')} tells the version of package.json`, async () => {
    const { exitCode, stdout } = await run(args);

    assert.equal(exitCode, 0);
    const text = fs.readFileSync(path.join(import.meta.dirname, '../package.json'), 'utf8');
    const { version } = JSON.parse(text) as { readonly version: string };
    assert.ok(stdout.includes(`${version} (from sources, Node v`), stdout);
  });
}

for (const { args, told } of [
  { args: [], told: /^Usage: miroir/ },
  { args: ['mirrro'], told: /Did you mean mirror\?/ },
  { args: ['--tag', 'off', 'configure'], told: /unknown option '--tag'/ },
  { args: ['configure', '--tag', 'off'], told: /--tag \(command line\): there is no such flag; did you mean --tags\?/ },
  { args: ['configure', '--tags'], told: /tags \(--tags\): it is empty/ },
  { args: ['configure', '--tags', 'off', '--tags', 'fresh'], told: /tags \(--tags\): it has 2 values/ },
  { args: ['cleanup', 'now'], told: /"now" \(command line\): cleanup takes flags only/ },
  { args: ['mirror'], told: /openssl rand -hex 32/ },
]) {
  test(`miroir ${args.join(' ')} is a mistake: told on stderr, exit 2`, async () => {
    const { exitCode, stdout, stderr } = await run(args);

    assert.equal(exitCode, 2);
    assert.equal(stdout, '');
    assert.match(stderr, told);
  });
}

test('the value of an unknown flag is not a mistake of its own', async () => {
  const { stderr } = await run(['configure', '--tag', 'off', '--nope=1', 'stray']);

  assert.deepEqual(stderr.match(/\(command line\)/g)?.length, 3);
  assert.doesNotMatch(stderr, /"off"/);
});

test('configure writes, tells what it did, and cleanup takes it back', async (t) => {
  const folder = temporaryFolder(t);

  const configured = await run(['configure', '--certs-dir', folder], { MIROIR_REGISTRIES: 'docker.io,r.example:5000' });

  assert.equal(configured.exitCode, 0, configured.stderr);
  assert.match(configured.stdout, /^created +docker\.io +\/.*\/docker\.io\/hosts\.toml$/m);
  assert.equal(configured.stdout.split('\n').length, 3);
  const again = await run(['configure', '--certs-dir', folder, '--registries', 'docker.io', '--json']);
  const changes = JSON.parse(again.stdout) as { readonly registry: string; readonly action: string }[];
  assert.deepEqual(
    changes.map(({ registry, action }) => `${registry} ${action}`),
    ['docker.io unchanged', 'r.example:5000 removed'],
  );
  const cleaned = await run(['cleanup'], { MIROIR_CERTS_DIR: folder });
  assert.match(cleaned.stdout, /^removed +docker\.io /);
  assert.deepEqual(fs.readdirSync(folder), []);
  assert.match((await run(['cleanup', '--certs-dir', folder])).stdout, /^There is nothing of Miroir in /);
});

test('a hosts.toml that cannot be read is told with its line and the fix, exit 2', async (t) => {
  const folder = temporaryFolder(t);
  fs.mkdirSync(path.join(folder, 'docker.io'));
  fs.writeFileSync(path.join(folder, 'docker.io/hosts.toml'), 'server = "https://a"\n[\n');

  const { exitCode, stderr } = await run(['configure', '--certs-dir', folder]);

  assert.equal(exitCode, 2);
  assert.match(stderr, /^miroir: .*docker\.io\/hosts\.toml:2 .*; mend that file/);
  assert.deepEqual(fs.readdirSync(folder), ['docker.io']);
});
