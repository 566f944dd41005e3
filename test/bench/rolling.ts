/** Nodes that pull the same image one after another, each beginning the moment the one before ended. */
import { atMost, type BenchLimit, type BenchOptions, type BenchResult, median, rounded } from './bench.ts';
import { createHerdLab, type HerdCase, type HerdRun, isOneCopy, titleOf } from './herds/herd-lab.ts';

const CASES: readonly HerdCase[] = (['4x25 MB', '1x300 MB'] as const).map((image) => ({
  nodes: 6,
  image,
  latencyMs: 20,
  auth: 'open',
  throttle: { total: 60_000_000 },
}));

/** For 20 of 20, say `--rounds 20`. */
const ROUNDS = 3;

export async function run({ progress, signal, rounds, isQuick, only }: BenchOptions): Promise<BenchResult> {
  const rows = [];
  const limits: BenchLimit[] = [];
  for (const one of CASES.filter((each) => only === undefined || titleOf(each).includes(only))) {
    const runs = await measure(one, rounds ?? (isQuick ? 1 : ROUNDS), progress, signal);
    const exact = runs.filter(isOneCopy).length;
    rows.push({
      rolling: titleOf(one),
      'one copy': `${exact}/${runs.length}`,
      'copies, most': rounded(Math.max(...runs.map(({ copies }) => copies))),
      'GETs a blob, most': Math.max(...runs.map(({ blobGetsMax }) => blobGetsMax)),
      'GETs a manifest, most': Math.max(...runs.map(({ manifestGetsMax }) => manifestGetsMax)),
      ms: Math.round(median(runs.map(({ ms }) => ms))),
      'alone, ms': Math.round(median(runs.map(({ aloneMs }) => aloneMs))),
    });
    limits.push(atMost(`${titleOf(one)}: runs with more than one copy`, runs.length - exact, 0));
  }
  return { name: 'rolling', unit: 'medians, unless said', rows, limits };
}

async function measure(
  one: HerdCase,
  rounds: number,
  progress: (line: string) => void,
  signal: AbortSignal,
): Promise<HerdRun[]> {
  const herd = await createHerdLab(one, signal);
  try {
    const runs: HerdRun[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      const result = await herd.run(async (nodes) => {
        for (const node of nodes) await node.pull();
      });
      runs.push(result);
      progress(`${titleOf(one)}: round ${round} of ${rounds}: ${result.copies.toFixed(2)} copies`);
    }
    return runs;
  } finally {
    await herd.down();
  }
}
