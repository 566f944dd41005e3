/**
 * How long a lookup takes in a swarm whose members share one process, and so its CPU. Where a hundred mirrors have a young
 * generation of 4 MB each, these have the one of 64 MB that `npm run bench` gives: what is measured are lookups, not the
 * collector of a process that no node runs.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Key, Router } from '../../mirror/swarm/router.ts';
import { atMost, type BenchOptions, type BenchResult, median, percentile, rounded } from './bench.ts';
import { eachSwarm } from './contestants/each-swarm.ts';
import { numberedKey } from './contestants/swarm-of-many.ts';

/** With 100 members, kad takes minutes of CPU to join and to announce: it shows what it is in a smaller swarm. */
const SWARMS = [
  { router: 'one-hop', members: 100, lookups: 250 },
  { router: 'kad', members: 30, lookups: 50 },
] as const;
const KEYS = 20;
const HOLDERS = 3;
const ROUNDS = 8;
const SETTLE_MS = 6_000;

const FOUND_P99_MS_MAX = 10;
const ABSENT_P99_MS_MAX = 25;

interface Samples {
  readonly foundMs: number[];
  readonly absentMs: number[];
  cpuMs: number;
  missed: number;
}

export async function run(options: BenchOptions): Promise<BenchResult> {
  const { progress, signal } = options;
  const measured = await eachSwarm(
    SWARMS,
    async ({ name, routers }, { lookups }) => {
      progress(`${name}: ${HOLDERS} members announce ${KEYS} keys`);
      const entries = Array.from({ length: KEYS }, (_, index) => ({ key: numberedKey('held', index) }));
      for (const holder of routers.slice(0, HOLDERS)) await holder.advertise(entries, signal);
      // While members have just joined, more of them are asked: that is not the rule.
      await delay(SETTLE_MS, undefined, { signal });
      const samples: Samples = { foundMs: [], absentMs: [], cpuMs: 0, missed: 0 };
      for (let round = 0; round <= ROUNDS; round += 1) {
        const into = round === 0 ? { ...samples, foundMs: [], absentMs: [] } : samples; // The first only warms up.
        await measure(routers.slice(HOLDERS), { round, lookups }, into, signal);
        progress(`${name}: round ${round} of ${ROUNDS}`);
      }
      return { row: rowOf(samples), limits: name === 'one-hop' ? limitsOf(samples) : [] };
    },
    options,
  );
  return { name: 'lookup', unit: 'ms', ...measured };
}

async function measure(
  askers: readonly Router[],
  { round, lookups }: { readonly round: number; readonly lookups: number },
  into: Samples,
  signal: AbortSignal,
): Promise<void> {
  const startedAt = process.cpuUsage();
  for (let index = 0; index < lookups; index += 1) {
    const asker = askers[index % askers.length] as Router;
    const held = await timeToFirst(asker, numberedKey('held', index % KEYS), signal);
    const absent = await timeToFirst(asker, numberedKey(`absent in round ${round}`, index), signal);
    if (absent.isFound) throw new Error('found what nobody has');
    if (!held.isFound) into.missed += 1;
    into.foundMs.push(held.tookMs);
    into.absentMs.push(absent.tookMs);
  }
  const { user, system } = process.cpuUsage(startedAt);
  into.cpuMs += (user + system) / 1000;
}

async function timeToFirst(router: Router, key: Key, signal: AbortSignal) {
  const lookup = router.lookup(key, { limit: 3 }, signal)[Symbol.asyncIterator]();
  const startedAt = performance.now();
  const { done } = await lookup.next();
  const tookMs = performance.now() - startedAt;
  await lookup.return?.();
  return { tookMs, isFound: done !== true };
}

function rowOf({ foundMs, absentMs, cpuMs, missed }: Samples) {
  const lookups = foundMs.length + absentMs.length;
  return {
    lookups,
    'found p50': rounded(median(foundMs)),
    'found p99': rounded(percentile(foundMs, 99)),
    'absent p50': rounded(median(absentMs)),
    'absent p99': rounded(percentile(absentMs, 99)),
    missed,
    // Of all members together, as those that answer work for it too.
    'CPU a lookup': rounded(cpuMs / lookups),
  };
}

function limitsOf({ foundMs, absentMs, missed }: Samples) {
  return [
    atMost('one-hop, first provider p99', percentile(foundMs, 99), FOUND_P99_MS_MAX),
    atMost('one-hop, held keys missed', missed, 0),
    atMost('one-hop, absent p99', percentile(absentMs, 99), ABSENT_P99_MS_MAX),
  ];
}
