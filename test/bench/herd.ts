/** Nodes that pull the same image at the same moment from a slow registry: what they take from it, and how long it takes them. */
import { atMost, type BenchLimit, type BenchOptions, type BenchResult, median, rounded } from './bench.ts';
import {
  atMostOneCopy,
  type HerdCase,
  herdColumns,
  medianAlone,
  type Puller,
  runHerd,
  titleOf,
} from './herds/herd-lab.ts';

const SLOW = { total: 20_000_000 };
const LIMITED = { total: 60_000_000, perConnection: 10_000_000 };

interface BoundedCase extends HerdCase {
  /** Of a node's pull with no mirror and no other node. */
  readonly aloneMax: number;
}

const CASES: readonly BoundedCase[] = [6, 10].flatMap((nodes) =>
  (['4x25 MB', '1x300 MB'] as const).flatMap((image) =>
    [20, 600].flatMap((latencyMs) =>
      (['open', 'token'] as const).map((auth) => ({
        nodes,
        image,
        latencyMs,
        auth,
        throttle: SLOW,
        aloneMax: nodes === 6 ? 1.25 : 1.4,
      })),
    ),
  ),
);

const UPLINKS: BoundedCase = {
  nodes: 10,
  image: '4x25 MB',
  latencyMs: 20,
  auth: 'open',
  throttle: SLOW,
  sendRate: 40_000_000,
  aloneMax: 1.5,
};

/** Each connection is slow: nodes together are faster than one. */
const CONNECTIONS: BoundedCase = {
  nodes: 6,
  image: '4x25 MB',
  latencyMs: 20,
  auth: 'open',
  throttle: LIMITED,
  aloneMax: 1,
};

/** More layers than any node downloads at a time. */
const MANY_LAYERS: BoundedCase = {
  nodes: 6,
  image: '12x8 MB',
  latencyMs: 20,
  auth: 'open',
  throttle: SLOW,
  aloneMax: 1.25,
};

const QUICK = new Set([
  '6 nodes, 4x25 MB, 20 ms, open',
  '6 nodes, 4x25 MB, 600 ms, token',
  '6 nodes, 1x300 MB, 20 ms, open',
]);

/** For 20 of 20, say `--rounds 20`. */
const ROUNDS = 2;

export async function run({ progress, signal, rounds = ROUNDS, isQuick, only }: BenchOptions): Promise<BenchResult> {
  const wanted = [...CASES, MANY_LAYERS, UPLINKS, CONNECTIONS].filter((one) => !isQuick || QUICK.has(nameOf(one)));
  const rows = [];
  const limits: BenchLimit[] = [];
  for (const one of wanted.filter((each) => only === undefined || nameOf(each).includes(only))) {
    const title = nameOf(one);
    const pullAll = (nodes: readonly Puller[]) => Promise.all(nodes.map((node) => node.pull()));
    const runs = await runHerd(one, { rounds, pullAll, progress, title }, signal);
    const ratio = median(runs.map(({ ms }) => ms)) / medianAlone(runs);
    rows.push({ herd: title, ...herdColumns(runs), ratio: rounded(ratio) });
    limits.push(atMostOneCopy(title, runs), atMost(`${title}: time, of one node alone,`, ratio, one.aloneMax));
  }
  return { name: 'herd', unit: 'medians, unless said', rows, limits };
}

function nameOf(one: HerdCase): string {
  const uplink = one.sendRate === undefined ? '' : `, uplinks of ${one.sendRate / 1e6} MB/s`;
  const connection =
    one.throttle.perConnection === undefined ? '' : `, ${one.throttle.perConnection / 1e6} MB/s a connection`;
  return `${titleOf(one)}${uplink}${connection}`;
}
