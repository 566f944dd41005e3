/** What it costs to tell a swarm what a node holds: the CPU of the announcer and of the members that keep its records. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Key, Router } from '../../mirror/swarm/router.ts';
import { atMost, type BenchOptions, type BenchResult, median, rounded } from './bench.ts';
import { eachSwarm } from './contestants/each-swarm.ts';
import { numberedKey } from './contestants/swarm-of-many.ts';

/** kad takes some 130 ms of CPU a key: it shows what it is with fewer of them. */
const SWARMS = [
  { router: 'one-hop', members: 30, keys: 10_000 },
  { router: 'kad', members: 30, keys: 20 },
] as const;
const ROUNDS = 5;
/** How long what was announced may take to be found. A router waits less than this for the slowest of its members. */
const FOUND_MS_MAX = 10_000;

/** For 10,000 digests. */
const CPU_SECONDS_MAX = 0.5;
const KEYS_OF_THE_LIMIT = 10_000;

export async function run(options: BenchOptions): Promise<BenchResult> {
  const { progress, signal } = options;
  const measured = await eachSwarm(
    SWARMS,
    async ({ name, routers }, { keys }) => {
      const samples: Sample[] = [];
      for (let round = 0; round <= ROUNDS; round += 1) {
        const names = Array.from({ length: keys }, (_, index) => numberedKey(`round ${round}`, index));
        const sample = await announce(routers[round] as Router, routers.at(-1) as Router, names, signal);
        if (round > 0) samples.push(sample); // The first round only warms up.
        progress(`${name}: round ${round} of ${ROUNDS}`);
      }
      const cpuSeconds = median(samples.map((sample) => sample.cpuSeconds));
      const byTenThousand = cpuSeconds * (KEYS_OF_THE_LIMIT / keys);
      return {
        row: {
          digests: keys,
          'time until found (median)': rounded(median(samples.map(({ seconds }) => seconds))),
          'CPU (median)': rounded(cpuSeconds),
          'CPU, by 10,000 digests': rounded(byTenThousand),
        },
        limits: name === 'one-hop' ? [atMost('one-hop, CPU for 10,000 digests', byTenThousand, CPU_SECONDS_MAX)] : [],
      };
    },
    options,
  );
  return { name: 'announce', unit: 's', ...measured };
}

interface Sample {
  readonly seconds: number;
  readonly cpuSeconds: number;
}

/** It counts until it was not only said, but heard: a router may go on telling others after it has answered. */
async function announce(announcer: Router, asker: Router, keys: readonly Key[], signal: AbortSignal): Promise<Sample> {
  const cpuBefore = process.cpuUsage();
  const startedAt = performance.now();
  await announcer.advertise(
    keys.map((key) => ({ key })),
    signal,
  );
  for (const key of [keys.at(0), keys.at(-1)]) await untilFound(asker, key as Key, signal);
  const seconds = (performance.now() - startedAt) / 1000;
  const { user, system } = process.cpuUsage(cpuBefore);
  await announcer.withdraw(keys, signal);
  return { seconds, cpuSeconds: (user + system) / 1_000_000 };
}

async function untilFound(asker: Router, key: Key, signal: AbortSignal): Promise<void> {
  for (const giveUpAt = performance.now() + FOUND_MS_MAX; performance.now() < giveUpAt; ) {
    const found = await Array.fromAsync(asker.lookup(key, { limit: 1 }, signal));
    if (found.length > 0) return;
    await delay(10, undefined, { signal });
  }
  throw new Error('a key that was announced is not found');
}
