/** Nodes that pull the same image at the same moment from a slow registry: what they take from it, and how long it takes them. */
import { atMost, type BenchLimit, type BenchOptions, type BenchResult, median, rounded } from './bench.ts';
import { createHerdLab, type HerdCase, type HerdRun, isOneCopy, titleOf } from './herds/herd-lab.ts';

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
    const runs = await measure(one, rounds, progress, signal);
    const name = nameOf(one);
    const exact = runs.filter(isOneCopy).length;
    const ratio = median(runs.map(({ ms, aloneMs }) => ms / aloneMs));
    rows.push({
      herd: name,
      'one copy': `${exact}/${runs.length}`,
      'copies, most': rounded(Math.max(...runs.map(({ copies }) => copies))),
      'GETs a blob, most': Math.max(...runs.map(({ blobGetsMax }) => blobGetsMax)),
      'GETs a manifest, most': Math.max(...runs.map(({ manifestGetsMax }) => manifestGetsMax)),
      ms: Math.round(median(runs.map(({ ms }) => ms))),
      'alone, ms': Math.round(median(runs.map(({ aloneMs }) => aloneMs))),
      ratio: rounded(ratio),
    });
    limits.push(atMost(`${name}: runs with more than one copy`, runs.length - exact, 0));
    limits.push(atMost(`${name}: time, of one node alone,`, ratio, one.aloneMax));
  }
  return { name: 'herd', unit: 'medians, unless said', rows, limits };
}

async function measure(
  one: BoundedCase,
  rounds: number,
  progress: (line: string) => void,
  signal: AbortSignal,
): Promise<HerdRun[]> {
  const herd = await createHerdLab(one, signal);
  try {
    const runs: HerdRun[] = [];
    for (let round = 1; round <= rounds; round += 1) {
      const result = await herd.run((nodes) => Promise.all(nodes.map((node) => node.pull())));
      runs.push(result);
      const { copies, blobGetsMax, ms, aloneMs } = result;
      progress(
        `${nameOf(one)}: round ${round} of ${rounds}: ${copies.toFixed(2)} copies, ${blobGetsMax} GETs a blob at most, ` +
          `${Math.round(ms)} ms, ${Math.round(aloneMs)} alone`,
      );
    }
    return runs;
  } finally {
    await herd.down();
  }
}

function nameOf(one: HerdCase): string {
  const uplink = one.sendRate === undefined ? '' : `, uplinks of ${one.sendRate / 1e6} MB/s`;
  const connection =
    one.throttle.perConnection === undefined ? '' : `, ${one.throttle.perConnection / 1e6} MB/s a connection`;
  return `${titleOf(one)}${uplink}${connection}`;
}
