import type { LabNode } from '../../lab/node.ts';

const METRICS_URL = 'http://127.0.0.1:29984/metrics';

/** How far apart the timers are that prom-client measures with: what it tells is the time between two of them. */
const TIMER_MS = 10;

/** How late timers of a node's mirror were while `act` ran: the 99th percentile, in milliseconds. */
export async function eventLoopDelayMs(node: LabNode, act: () => Promise<void>): Promise<number> {
  await node.fetch(METRICS_URL); // Whoever reads these figures begins them anew.
  await act();
  const { body } = await node.fetch(METRICS_URL);
  const seconds = /^nodejs_eventloop_lag_p99_seconds (\S+)$/m.exec(body)?.[1];
  return Math.max(0, Number(seconds) * 1000 - TIMER_MS);
}
