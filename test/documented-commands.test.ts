/** Every command that the documents tell people to run is run by a test, or it is said why not. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { promisify } from 'node:util';
import { COMMANDS } from './documented/commands.ts';
import { commandsOf, ROOT, readCommands } from './documented/read-commands.ts';
import { documentedAt } from './documented/run-documented.ts';

/** `helm uninstall` in a sentence about `helm uninstall miroir --namespace miroir`. */
const isNamed = (command: string, name: string) => command === name || command.startsWith(`${name} `);

test('every command of the documents is in test/documented/commands.ts, and no other', () => {
  const written = readCommands();
  const known = Object.keys(COMMANDS);

  const unknown = written.filter(({ command }) => !known.some((other) => isNamed(other, command)));
  assert.deepEqual(unknown, [], 'add them there, with the place where they are run');
  const gone = known.filter((command) => !written.some((other) => other.command === command));
  assert.deepEqual(gone, [], 'no page has these');
});

test('commands are seen in blocks and in sentences, and what is none is not', () => {
  const page = [
    'Run `helm  list`, or `kubectl get\nnodes`; `miroir.dev/gate: off`, `helm` and `miroir/1/<key id>` are none.',
    '  ```sh',
    '  a  # one',
    '  --flag',
    '  # nothing',
    '',
    '  b && c &&',
    '    d \\',
    '    e',
    '  ```',
    '```toml',
    'make = "x"',
    '```',
  ];

  assert.deepEqual(commandsOf(page.join('\n')), ['a', 'b && c && d e', 'helm list', 'kubectl get nodes']);
});

test('every target and script that they name is there', () => {
  const { scripts } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as {
    readonly scripts: Readonly<Record<string, string>>;
  };
  const makefile = fs.readFileSync(path.join(ROOT, 'Makefile'), 'utf8');
  const targets = [...makefile.matchAll(/^([a-z0-9-]+):/gm)].map(([, name]) => name as string);
  const named = Object.entries(COMMANDS).filter(([, { place }]) => place === 'target');

  const missing = named
    .map(([command]) => command.replace(/^npm run /, 'npm ').split(' '))
    .filter(([program, name = '']) => !(program === 'make' ? targets.includes(name) : name in scripts));
  assert.deepEqual(missing, []);
});

test('those for a checkout run', async (t) => {
  const bin = fs.mkdtempSync(path.join(os.tmpdir(), 'documented-'));
  t.after(() => fs.rmSync(bin, { recursive: true }));
  fs.writeFileSync(path.join(bin, 'miroir'), `#!/bin/sh\nexec node ${ROOT}/cli/main.ts "$@"\n`, { mode: 0o755 });
  const { NODE_TEST_CONTEXT: _, ...env } = process.env; // A run of tests within one would report to it.
  const options = { cwd: ROOT, env: { ...env, PATH: `${bin}:${path.dirname(process.execPath)}:${env['PATH']}` } };
  const bash = (script: string) => promisify(execFile)('bash', ['-c', script], options);

  for (const { command, run } of documentedAt('checkout', { bash })) await t.test(command, run);
});
