/** How long a lookup takes in a swarm whose members share one process, and so its CPU. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Key, Router } from '../../mirror/swarm/router.ts';
import { atMost, type BenchOptions, type BenchResult, median, percentile, rounded } from './bench.ts';
import { joinMany, numberedKey, type SwarmOfMany } from './contestants/swarm-of-many.ts';

/** With 100 members, kad takes minutes of CPU to join and to announce: it shows what it is in a smaller swarm. */
const SWARMS = [
  { router: 'one-hop', members: 100, lookups: 250 },
  { router: 'kad', members: 30, lookups: 50 },
] as const;
const KEYS = 20;
const HOLDERS = 3;
const ROUNDS = 4;
const SETTLE_MS = 6_000;

const FOUND_P99_MS_MAX = 10;
const ABSENT_P99_MS_MAX = 25;

interface Contest {
  readonly swarm: SwarmOfMany;
  readonly lookups: number;
  readonly foundMs: number[];
  readonly absentMs: number[];
  cpuMs: number;
  missed: number;
}

/** One swarm after the other: 100 members that only keep in touch take half a core. */
export async function run({ progress, signal }: BenchOptions): Promise<BenchResult> {
  const contests: Contest[] = [];
  for (const { router, members, lookups } of SWARMS) {
    progress(`${router}: ${members} members join and ${HOLDERS} of them announce ${KEYS} keys`);
    const swarm = await joinMany(router, members, signal);
    try {
      const contest: Contest = { swarm, lookups, foundMs: [], absentMs: [], cpuMs: 0, missed: 0 };
      contests.push(contest);
      const entries = Array.from({ length: KEYS }, (_, index) => ({ key: numberedKey('held', index) }));
      for (const holder of swarm.routers.slice(0, HOLDERS)) await holder.advertise(entries, signal);
      // While members have just joined, more of them are asked: that is not the rule.
      await delay(SETTLE_MS, undefined, { signal });
      for (let round = 0; round <= ROUNDS; round += 1) {
        await measure(contest, round, signal);
        progress(`${router}: round ${round} of ${ROUNDS}`);
      }
    } finally {
      await swarm.stop();
    }
  }
  return summarize(contests);
}

async function measure(contest: Contest, round: number, signal: AbortSignal): Promise<void> {
  const askers = contest.swarm.routers.slice(HOLDERS);
  const startedAt = process.cpuUsage();
  for (let index = 0; index < contest.lookups; index += 1) {
    const asker = askers[index % askers.length] as Router;
    const held = await timeToFirst(asker, numberedKey('held', index % KEYS), signal);
    const absent = await timeToFirst(asker, numberedKey(`absent in round ${round}`, index), signal);
    if (absent.isFound) throw new Error('found what nobody has');
    if (round === 0) continue; // The first round only warms up.
    contest.foundMs.push(held.tookMs);
    contest.absentMs.push(absent.tookMs);
    if (!held.isFound) contest.missed += 1;
  }
  const { user, system } = process.cpuUsage(startedAt);
  if (round > 0) contest.cpuMs += (user + system) / 1000;
}

async function timeToFirst(router: Router, key: Key, signal: AbortSignal) {
  const lookup = router.lookup(key, { limit: 3 }, signal)[Symbol.asyncIterator]();
  const startedAt = performance.now();
  const { done } = await lookup.next();
  const tookMs = performance.now() - startedAt;
  await lookup.return?.();
  return { tookMs, isFound: done !== true };
}

function summarize(contests: readonly Contest[]): BenchResult {
  const rows = contests.map(({ swarm, foundMs, absentMs, cpuMs, missed }) => ({
    router: swarm.name,
    members: swarm.routers.length,
    lookups: foundMs.length + absentMs.length,
    'found p50': rounded(median(foundMs)),
    'found p99': rounded(percentile(foundMs, 99)),
    'absent p50': rounded(median(absentMs)),
    'absent p99': rounded(percentile(absentMs, 99)),
    missed,
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
      atMost('one-hop, held keys missed', oneHop.missed, 0),
      atMost('one-hop, absent p99', percentile(oneHop.absentMs, 99), ABSENT_P99_MS_MAX),
    ],
  };
}
