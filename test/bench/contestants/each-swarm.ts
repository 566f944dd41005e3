import type { RouterName } from '../../conformance/libp2p-fixture.ts';
import { atMost, type BenchLimit, type BenchOptions, type BenchResult } from '../bench.ts';
import { joinMany, type SwarmOfMany } from './swarm-of-many.ts';

export interface SwarmContest {
  readonly router: RouterName;
  readonly members: number;
}

type Row = BenchResult['rows'][number];

interface Measured {
  readonly row: Row;
  readonly limits: readonly BenchLimit[];
}

/**
 * Measures one swarm after the other, as 100 members that only keep in touch take a part of a core. One that fails has
 * its problem in the table, and breaks a limit; the others are measured all the same.
 */
export async function eachSwarm<C extends SwarmContest>(
  contests: readonly C[],
  measure: (swarm: SwarmOfMany, contest: C) => Promise<Measured>,
  { progress, signal }: BenchOptions,
): Promise<Pick<BenchResult, 'rows' | 'limits'>> {
  const rows: Row[] = [];
  const limits: BenchLimit[] = [];
  let failed = 0;
  for (const contest of contests) {
    const { router, members } = contest;
    let swarm: SwarmOfMany | undefined;
    try {
      progress(`${router}: ${members} members join`);
      swarm = await joinMany(router, members, signal);
      const measured = await measure(swarm, contest);
      rows.push({ router, members, ...measured.row });
      limits.push(...measured.limits);
    } catch (error) {
      signal.throwIfAborted();
      failed += 1;
      rows.push({ router, members, problem: (error as Error).message });
    } finally {
      await swarm?.stop();
    }
  }
  return { rows, limits: [...limits, atMost('swarms that failed,', failed, 0)] };
}
