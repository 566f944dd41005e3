/** `npm run bench -- [NAME...] [--json]`: runs benchmarks one after another and holds them against their limits. */
import fs from 'node:fs';
import path from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import type { Bench, BenchResult } from './bench.ts';

/** A benchmark that is not done by then hangs. */
const BENCH_DEADLINE_MS = 20 * 60_000;
/** Who wishes for more than so many rounds gets as much more time. */
const ROUNDS_IN_DEADLINE = 2;

const NOT_BENCHES = new Set(['bench.ts', 'run.ts']);

function benchNames(): string[] {
  return fs
    .readdirSync(import.meta.dirname)
    .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts') && !NOT_BENCHES.has(file))
    .map((file) => path.basename(file, '.ts'))
    .toSorted();
}

async function runBench(name: string): Promise<BenchResult> {
  const { run }: { run: Bench } = await import(path.join(import.meta.dirname, `${name}.ts`));
  return run({
    progress: (line) => process.stderr.write(`${name}: ${line}\n`),
    signal: AbortSignal.any([
      interrupted.signal,
      AbortSignal.timeout(BENCH_DEADLINE_MS * Math.max(1, (rounds ?? 1) / ROUNDS_IN_DEADLINE)),
    ]),
    rounds,
    isQuick: quick === true,
    only,
  });
}

function formatTable(result: BenchResult): string {
  const columns = [...new Set(result.rows.flatMap((row) => Object.keys(row)))];
  const cells = [columns, ...result.rows.map((row) => columns.map((column) => String(row[column] ?? '')))];
  const widths = columns.map((_, index) => Math.max(...cells.map((line) => (line[index] as string).length)));
  const lines = cells.map((line) => line.map((cell, index) => cell.padEnd(widths[index] as number)).join('  '));
  const limits = result.limits.map(
    ({ name, value, limit, ok }) => `  ${ok ? 'holds ' : 'BROKEN'}  ${name} ${limit}: ${value}`,
  );
  return [`${result.name} (${result.unit})`, ...lines.map((line) => `  ${line.trimEnd()}`), ...limits, ''].join('\n');
}

const interrupted = new AbortController();
const names = benchNames();
const command = new Command('bench')
  .description('Measures Miroir, side by side with what it is measured against, and checks its promises.')
  .argument('[names...]', `which benchmarks, of: ${names.join(', ')}`, [])
  .option('--json', 'print one JSON object per benchmark instead of tables')
  .option('--rounds <count>', 'how often to repeat what is repeated: herd, miss, pull, rolling, warm', parseRounds)
  .option('--quick', 'the most telling cases only: herd, rolling')
  .option('--only <text>', 'cases whose name contains this: herd, rolling, warm')
  .addHelpText(
    'after',
    '\nExits with 1 when a promise is broken or a benchmark fails. Wants a quiet machine; progress goes to standard error.',
  )
  .parse();

function parseRounds(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError('A count from 1 to 9999 is wanted.');
  return Number(text);
}

const { json, rounds, quick, only } = command.opts<{ json?: true; rounds?: number; quick?: true; only?: string }>();
const chosen = command.args.length === 0 ? names : command.args;
const unknown = chosen.filter((name) => !names.includes(name));
if (unknown.length > 0)
  command.error(`There is no benchmark ${unknown.join(', ')}. There are: ${names.join(', ')}.`, { exitCode: 2 });

for (const name of ['SIGINT', 'SIGTERM'] as const) {
  process.once(name, () => {
    process.stderr.write('stopping what was started; once more to leave it\n');
    interrupted.abort();
  });
}

for (const name of chosen) {
  if (interrupted.signal.aborted) break;
  try {
    const result = await runBench(name);
    if (interrupted.signal.aborted) break; // Part of it tells nothing.
    if (result.rows.length === 0) throw new Error(`nothing was measured: it has no case for --only '${only}'`);
    process.stdout.write(`${json ? JSON.stringify(result) : formatTable(result)}\n`);
    if (result.limits.some(({ ok }) => !ok)) process.exitCode = 1;
  } catch (error) {
    if (interrupted.signal.aborted) break;
    // The others can still be measured.
    process.stderr.write(`${name} failed: ${(error as Error).stack}\n`);
    process.exitCode = 1;
  }
}
process.exit(interrupted.signal.aborted ? 130 : process.exitCode);
