/** `make soak`: four nodes for half an hour; `--minutes 3 --seed n` for another time and chance. */
import { parseArgs } from 'node:util';
import { countPulls, judgeSoak, soak } from './soak.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  },
});
const SAY_MS = 10_000;
const durationMs = Number(values.minutes) * 60_000;
const say = (line: string) => process.stdout.write(`${line}\n`);
say(`seed ${values.seed}`);
let saidAtMs = -Infinity;
let failuresSaid = 0;
const report = await soak(
  {
    durationMs,
    seed: Number(values.seed),
    onSample: ({ witness, counts, failures }) => {
      for (; failuresSaid < failures.length; failuresSaid++) say(`WRONG ${failures[failuresSaid]}`);
      const last = witness.at(-1);
      if (last === undefined || last.atMs - saidAtMs < SAY_MS) return;
      saidAtMs = last.atMs;
      say(
        `${Math.round(last.atMs / 1000)} s: ${countPulls(counts)} pulls, ${Math.round(last.residentBytes / 1e6)} MB, ${last.files} files`,
      );
    },
  },
  AbortSignal.timeout(durationMs + 5 * 60_000),
);
for (const [what, count] of [...report.counts].toSorted(([one], [other]) => one.localeCompare(other)))
  say(`${String(count).padStart(5)} ${what}`);
say(`slowest pull ${Math.round(report.slowestPullMs)} ms`);
const complaints = judgeSoak(report);
for (const complaint of complaints) say(`WRONG ${complaint}`);
process.exitCode = complaints.length > 0 ? 1 : 0;
