import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import type { Verdict } from '../containerd/verdict/verdict.ts';
import { runProgram } from './program.ts';

async function check(t: TestContext, args: readonly string[]) {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-check-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  let stdout = '';
  const deps = {
    env: {},
    readFile: assert.fail,
    stdout: (text: string) => {
      stdout += text;
    },
    stderr: assert.fail,
    columns: undefined,
  };
  const certsDir = path.join(folder, 'certs.d');
  const flags = ['--containerd-socket', path.join(folder, 'no.sock'), '--certs-dir', certsDir];
  const exitCode = await runProgram(deps, ['check', ...flags, ...args], t.signal);
  return { exitCode, stdout, leftBehind: fs.readdirSync(folder) };
}

test('without a containerd check cannot tell, exits 2 and touches nothing', async (t) => {
  const { exitCode, stdout, leftBehind } = await check(t, []);

  assert.equal(exitCode, 2);
  assert.match(stdout, /^containerd: cannot tell\n\nunknown +containerd does not answer/);
  assert.deepEqual(leftBehind, []);
});

test('--json prints the verdict as one object', async (t) => {
  const { exitCode, stdout } = await check(t, ['--json']);

  const verdict = JSON.parse(stdout) as Verdict;
  assert.equal(exitCode, 2);
  assert.deepEqual([verdict.result, verdict.reasons[0]?.code], ['unknown', 'containerd-unreachable']);
});
