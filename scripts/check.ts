/** `npm run check`: every gate that needs no running system. Runs them side by side and shows what failed. */
import { spawn } from 'node:child_process';

const GATES: ReadonlyArray<{ readonly name: string; readonly command: readonly string[] }> = [
  { name: 'types', command: ['tsc', '-p', '.'] },
  { name: 'format and lint', command: ['biome', 'check', '--error-on-warnings', '.'] },
  { name: 'lint with types', command: ['oxlint', '--type-aware', '--deny-warnings'] },
  { name: 'dead code', command: ['knip'] },
  { name: 'walls', command: ['node', '--test', 'test/tidy.test.ts'] },
];

interface Result {
  readonly name: string;
  readonly passed: boolean;
  readonly output: string;
  readonly seconds: number;
}

function run(name: string, [program, ...args]: readonly string[]): Promise<Result> {
  const startedAt = performance.now();
  return new Promise((resolve) => {
    const child = spawn('npx', ['--no-install', program as string, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
    child.on('close', (code) => {
      resolve({ name, passed: code === 0, output, seconds: (performance.now() - startedAt) / 1000 });
    });
  });
}

const results = await Promise.all(GATES.map(({ name, command }) => run(name, command)));
for (const { name, passed, output, seconds } of results) {
  if (!passed) process.stdout.write(`${output}\n`);
  process.stdout.write(`${passed ? 'pass' : 'FAIL'}  ${name} (${seconds.toFixed(1)} s)\n`);
}
process.exitCode = results.every(({ passed }) => passed) ? 0 : 1;
