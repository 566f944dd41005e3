/** What it costs to tell a swarm what a node holds: the CPU of the announcer and of the members that keep its records. */
import type { Router } from '../../mirror/swarm/router.ts';
import { atMost, type BenchOptions, type BenchResult, median, rounded } from './bench.ts';
import { joinMany, numberedKey, type SwarmOfMany } from './contestants/swarm-of-many.ts';

/** kad takes some 200 ms of CPU a key: it shows what it is with fewer of them. */
const SWARMS = [
  { router: 'one-hop', members: 30, keys: 10_000 },
  { router: 'kad', members: 30, keys: 20 },
] as const;
const ROUNDS = 5;

/** For 10,000 digests. */
const CPU_SECONDS_MAX = 0.5;
const KEYS_OF_THE_LIMIT = 10_000;

interface Contest {
  readonly swarm: SwarmOfMany;
  readonly keys: number;
  readonly seconds: number[];
  readonly cpuSeconds: number[];
}

export async function run({ progress, signal }: BenchOptions): Promise<BenchResult> {
  const contests: Contest[] = [];
  try {
    for (const { router, members, keys } of SWARMS) {
      progress(`${router}: ${members} members join`);
      contests.push({ swarm: await joinMany(router, members, signal), keys, seconds: [], cpuSeconds: [] });
    }
    for (let round = 0; round <= ROUNDS; round += 1) {
      for (const contest of contests) await measure(contest, round, signal);
      progress(`round ${round} of ${ROUNDS}`);
    }
    return summarize(contests);
  } finally {
    for (const { swarm } of contests) await swarm.stop();
  }
}

async function measure(contest: Contest, round: number, signal: AbortSignal): Promise<void> {
  const announcer = contest.swarm.routers[round] as Router;
  const asker = contest.swarm.routers.at(-1) as Router;
  const keys = Array.from({ length: contest.keys }, (_, index) => numberedKey(`round ${round}`, index));
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  await announcer.advertise(
    keys.map((key) => ({ key })),
    signal,
  );
  const seconds = (performance.now() - startedAt) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  // It was not only said, but heard.
  for (const key of [keys[0], keys.at(-1)]) {
    const found = await Array.fromAsync(asker.lookup(key as (typeof keys)[number], { limit: 1 }, signal));
    if (found.length !== 1) throw new Error(`${contest.swarm.name}: a key that was announced is not found`);
  }
  await announcer.withdraw(keys, signal);
  if (round === 0) return; // The first round only warms up.
  contest.seconds.push(seconds);
  contest.cpuSeconds.push((user + system) / 1_000_000);
}

function summarize(contests: readonly Contest[]): BenchResult {
  const perTenThousand = (contest: Contest, values: readonly number[]) =>
    median(values) * (KEYS_OF_THE_LIMIT / contest.keys);
  const [oneHop] = contests as [Contest];
  return {
    name: 'announce',
    unit: 's',
    rows: contests.map((contest) => ({
      router: contest.swarm.name,
      members: contest.swarm.routers.length,
      digests: contest.keys,
      'time (median)': rounded(median(contest.seconds)),
      'CPU (median)': rounded(median(contest.cpuSeconds)),
      'CPU, by 10,000 digests': rounded(perTenThousand(contest, contest.cpuSeconds)),
    })),
    limits: [atMost('one-hop, CPU for 10,000 digests', perTenThousand(oneHop, oneHop.cpuSeconds), CPU_SECONDS_MAX)],
  };
}
