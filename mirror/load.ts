import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Component } from '../common/lifecycle.ts';

/** Whether this process is too busy to be of help. */
export interface Load extends Component {
  /** True while what it answers would come later than without it: then a mirror is better skipped. */
  readonly isTooHigh: () => boolean;
}

/** How often it is looked at, and over what time the delay is told. */
const WINDOW_MS = 1000;
const RESOLUTION_MS = 20;

/** Half of all turns of the event loop take longer than a registry far away takes for its first byte. */
const TOO_HIGH_MS = 300;
/** Lower, so that it does not flap. */
const FINE_AGAIN_MS = 100;

/** How late timers are, in nanoseconds, as Node's `monitorEventLoopDelay` tells it. */
type Delays = Pick<ReturnType<typeof monitorEventLoopDelay>, 'enable' | 'disable' | 'percentile' | 'reset'>;

export function createLoad(delays: Delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS })): Load {
  let isTooHigh = false;
  let timer: NodeJS.Timeout | undefined;
  const look = () => {
    const ms = delays.percentile(50) / 1e6;
    delays.reset();
    isTooHigh = ms > (isTooHigh ? FINE_AGAIN_MS : TOO_HIGH_MS);
  };
  return {
    isTooHigh: () => isTooHigh,
    start: async () => {
      delays.enable();
      timer = setInterval(look, WINDOW_MS);
    },
    stop: async () => {
      clearInterval(timer);
      delays.disable();
    },
  };
}
