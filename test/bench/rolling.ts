/** Nodes that pull the same image one after another, each beginning the moment the one before ended. */
import type { BenchLimit, BenchOptions, BenchResult } from './bench.ts';
import { atMostOneCopy, type HerdCase, herdColumns, type Puller, runHerd, titleOf } from './herds/herd-lab.ts';

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
    const title = titleOf(one);
    const pullAll = async (nodes: readonly Puller[]) => {
      for (const node of nodes) await node.pull();
    };
    const runs = await runHerd(one, { rounds: rounds ?? (isQuick ? 1 : ROUNDS), pullAll, progress, title }, signal);
    rows.push({ rolling: title, ...herdColumns(runs) });
    limits.push(atMostOneCopy(title, runs));
  }
  return { name: 'rolling', unit: 'medians, unless said', rows, limits };
}
