/** How long a lookup takes in a swarm whose members share one process, and so its CPU. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Key, Router } from '../../mirror/swarm/router.ts';
import { atMost, type BenchOptions, type BenchResult, median, percentile, rounded } from './bench.ts';
import { joinMany, numberedKey, type SwarmOfMany } from './contestants/swarm-of-many.ts';

/** With 100 members, kad takes minutes of CPU to join and to announce: it shows what it is in a smaller swarm. */
const SWARMS = [
  { router: 'one-hop', members: 100 },
  { router: 'kad', members: 30 },
] as const;
const KEYS = 100;
const HOLDERS = 3;
const ROUNDS = 4;
const LOOKUPS_A_ROUND = 250;
const SETTLE_MS = 6_000;

const FOUND_P99_MS_MAX = 10;
const ABSENT_P99_MS_MAX = 25;

interface Contest {
  readonly swarm: SwarmOfMany;
  readonly foundMs: number[];
  readonly absentMs: number[];
  cpuMs: number;
}

export async function run({ progress, signal }: BenchOptions): Promise<BenchResult> {
  const contests: Contest[] = [];
  try {
    for (const { router, members } of SWARMS) {
      progress(`${router}: ${members} members join and ${HOLDERS} of them announce ${KEYS} keys`);
      const swarm = await joinMany(router, members, signal);
      contests.push({ swarm, foundMs: [], absentMs: [], cpuMs: 0 });
      const entries = Array.from({ length: KEYS }, (_, index) => ({ key: numberedKey('held', index) }));
      for (const holder of swarm.routers.slice(0, HOLDERS)) await holder.advertise(entries, signal);
    }
    // While members have just joined, more of them are asked: that is not the rule.
    await delay(SETTLE_MS, undefined, { signal });
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
  const askers = contest.swarm.routers.slice(HOLDERS);
  const startedAt = process.cpuUsage();
  for (let index = 0; index < LOOKUPS_A_ROUND; index += 1) {
    const asker = askers[index % askers.length] as Router;
    const foundMs = await timeToFirst(asker, numberedKey('held', index % KEYS), true, signal);
    const absentMs = await timeToFirst(asker, numberedKey(`absent in round ${round}`, index), false, signal);
    if (round === 0) continue; // The first round only warms up.
    contest.foundMs.push(foundMs);
    contest.absentMs.push(absentMs);
  }
  const { user, system } = process.cpuUsage(startedAt);
  if (round > 0) contest.cpuMs += (user + system) / 1000;
}

async function timeToFirst(router: Router, key: Key, isHeld: boolean, signal: AbortSignal): Promise<number> {
  const lookup = router.lookup(key, { limit: 3 }, signal)[Symbol.asyncIterator]();
  const startedAt = performance.now();
  const { done } = await lookup.next();
  const tookMs = performance.now() - startedAt;
  await lookup.return?.();
  if ((done !== true) !== isHeld)
    throw new Error(isHeld ? 'a key that is held was not found' : 'found what nobody has');
  return tookMs;
}

function summarize(contests: readonly Contest[]): BenchResult {
  const rows = contests.map(({ swarm, foundMs, absentMs, cpuMs }) => ({
    router: swarm.name,
    members: swarm.routers.length,
    lookups: foundMs.length + absentMs.length,
    'found p50': rounded(median(foundMs)),
    'found p99': rounded(percentile(foundMs, 99)),
    'absent p50': rounded(median(absentMs)),
    'absent p99': rounded(percentile(absentMs, 99)),
    // Of all members together, as those that answer work for it too.
    'CPU a lookup': rounded(cpuMs / (foundMs.length + absentMs.length)),
  }));
  const [oneHop] = contests as [Contest];
  return {
    name: 'lookup',
    unit: 'ms',
    rows,
    limits: [
      atMost('one-hop, first provider p99', percentile(oneHop.foundMs, 99), FOUND_P99_MS_MAX),
      atMost('one-hop, absent p99', percentile(oneHop.absentMs, 99), ABSENT_P99_MS_MAX),
    ],
  };
}
