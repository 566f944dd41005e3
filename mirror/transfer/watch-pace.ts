import type { Logger } from '../../common/log.ts';
import type { Provider } from '../swarm/router.ts';
import type { TransferMetrics } from './metrics.ts';
import type { PeerMemory } from './peer-memory.ts';
import { FASTER_FACTOR, fasterPeer, secondPeer } from './pick-peer.ts';
import type { Early, ReadAhead } from './read-ahead.ts';
import type { RelayEvent, RelayState } from './relay.ts';
import { createThroughputMeter, type ThroughputMeter } from './throughput.ts';
import type { Turns } from './turns.ts';

export interface WatchPaceDeps {
  readonly peers: PeerMemory;
  readonly log: Logger;
  readonly metrics: TransferMetrics;
  readonly readAhead: ReadAhead;
  /** Milliseconds. */
  readonly now: () => number;
  /** Calls back every so many milliseconds, until what it answers is called. */
  readonly every: (ms: number, callback: () => void) => () => void;
}

export interface WatchPaceOptions {
  /** What else there is than peers, once the client has its first byte. */
  readonly registry?: RegistryInstead | undefined;
}

/** The registry, to which the client is left when all peers are slow. */
export interface RegistryInstead {
  isFaster(bytesPerSecond: number): boolean;
  /** The client is about to ask again, and is to be sent there. */
  leave(): void;
}

/** The relay that is watched. */
export interface WatchedRelay {
  state(): RelayState;
  /** The client has taken all before this. */
  taken(): number;
  tell(event: RelayEvent): void;
  /** Ends early, so that the client goes on at the registry. */
  leave(): void;
}

/** Looks each second at how fast peers send to a relay, and tells it when there is something better. */
export interface PaceWatch {
  /** A body is read from now on. */
  reads(attempt: number, provider: Provider): BodyWatch;
  /** Two peers begin to send in turns. */
  beganTurns(): void;
  /** Of what two send in turns. */
  early(): Early | undefined;
  /** Nothing more is read of it. */
  over(attempt: number): void;
  stop(): void;
}

export interface BodyWatch {
  arrived(byteCount: number): void;
  taken(): void;
  ended(): void;
}

/** How long a peer sends before it is compared with others: a slow start is over by then. */
const LOOK_MS = 1000;

/** What came faster than it can be looked at tells a pace too, when it was not only what was on its way. */
const TOLD_BYTES_MIN = 1024 * 1024;

/** A hiccup is no pace, and what is nearly done costs least where it is. */
const SLOW_LOOKS_MAX = 2;
const SECONDS_LEFT_MIN = 3;

/** One that sends as much is enough: uploads are for all, and a client that unpacks takes little more. */
const ENOUGH_BYTES_PER_SECOND = 20_000_000;

/** And one that sends so little is left for one of which nothing is known: the part before that one's would hold all up. */
const HOPELESS_BYTES_PER_SECOND = 3_000_000;

/** What is over in a second is nearly done. */
const SECONDS_LEFT_FOR_TURNS_MIN = 1;

/** Two that bring less than this times as much as one alone are not worth two uploads. */
const GAIN_MIN = 1.2;

export function createPaceWatch(
  { peers, log, metrics, readAhead, now, every }: WatchPaceDeps,
  { registry }: WatchPaceOptions,
  relay: WatchedRelay,
): PaceWatch {
  let stopLooking = () => {};
  let slowLooks = 0;
  let early: Early | undefined;
  /** That are read from, by attempt. */
  const bodies = new Map<number, { readonly provider: Provider; readonly meter: ThroughputMeter }>();
  /** While two send in turns: what each brought since the last look, and how much one brought alone. */
  const brought = new Map<Provider, number>();
  let lookedAt = 0;
  let aloneBytesPerSecond = 0;
  let vainLooks = 0;

  const lookLater = () => {
    stopLooking();
    stopLooking = every(LOOK_MS, look);
  };

  /** One that is receiving itself is as slow as who sends to it: that says nothing of its own pace. */
  const measure = (provider: Provider, meter: ThroughputMeter, bytesMin: number) => {
    const throughput = meter.look();
    if (provider.isReceiving === true || throughput.byteCount < bytesMin) return undefined;
    peers.measured(provider, throughput);
    return throughput;
  };

  const look = () => {
    const { turns, attempts } = relay.state();
    if (turns !== undefined) return lookAtTurns(turns);
    const chosen = attempts.find(({ isChosen }) => isChosen);
    if (chosen !== undefined) lookAtOne(chosen.id);
  };

  const lookAtOne = (attempt: number) => {
    const body = bodies.get(attempt);
    const throughput = body && measure(body.provider, body.meter, 0);
    if (throughput?.isPeersPace !== true) return;
    const { bytesPerSecond } = throughput;
    const standing = (one: Provider) => peers.standing(one);
    const holders = relay.state().queue.filter(({ isReceiving }) => isReceiving !== true);
    const faster = fasterPeer(bytesPerSecond, holders, standing);
    const isStranger = faster !== undefined && standing(faster).bytesPerSecond === undefined;
    const other = secondPeer(bytesPerSecond, holders, standing);
    if (other !== undefined && (faster === undefined || isStranger) && areTurnsOfUse(bytesPerSecond)) {
      log.debug('peer does not fill the pipe', { ...throughput, other: other.address });
      aloneBytesPerSecond = bytesPerSecond;
      relay.tell({ type: 'in-turns', attempt, other, taken: relay.taken() });
    } else if (faster !== undefined) {
      log.debug('peer is slow', { ...throughput, faster: faster.address });
      relay.tell({ type: 'slow', attempt, faster });
    } else {
      leaveIfSlow(bytesPerSecond);
    }
  };

  const areTurnsOfUse = (bytesPerSecond: number): boolean => {
    if (bytesPerSecond < HOPELESS_BYTES_PER_SECOND || bytesPerSecond >= ENOUGH_BYTES_PER_SECOND) return false;
    if (bytesLeft() < bytesPerSecond * SECONDS_LEFT_FOR_TURNS_MIN) return false;
    early ??= readAhead.begin();
    return early !== undefined;
  };

  const bytesLeft = () => {
    const { size, offset } = relay.state();
    return (size?.end ?? 0) - offset;
  };

  const lookAtTurns = ({ peers: [one, other], parts }: Turns) => {
    const seconds = Math.max(1, now() - lookedAt) / 1000;
    const rates = [one, other].map((provider) => (brought.get(provider) ?? 0) / seconds);
    startLook();
    const [slower, faster] = (rates[0] ?? 0) < (rates[1] ?? 0) ? [one, other] : [other, one];
    const [least, most] = [Math.min(...rates), Math.max(...rates)];
    const together = least + most;
    // Each may have waited for the other's part: so fast at least.
    if (most > 0) peers.measured(faster, { bytesPerSecond: most, isPeersPace: false });
    if (together === 0) {
      const next = parts[0]?.provider;
      if (next !== undefined && relay.taken() === relay.state().offset) alone(next === one ? other : one);
      return;
    }
    if (least * FASTER_FACTOR <= most) {
      if (least > 0) peers.measured(slower, { bytesPerSecond: least, isPeersPace: true });
      alone(faster);
      return;
    }
    vainLooks = together < aloneBytesPerSecond * GAIN_MIN ? vainLooks + 1 : 0;
    if (vainLooks >= SLOW_LOOKS_MAX) {
      readAhead.wasInVain();
      alone(faster);
      return;
    }
    leaveIfSlow(together);
  };

  const alone = (provider: Provider) => {
    log.debug('two peers are no better than one', { address: provider.address });
    relay.tell({ type: 'alone', provider });
  };

  const startLook = () => {
    brought.clear();
    lookedAt = now();
  };

  const leaveIfSlow = (bytesPerSecond: number) => {
    slowLooks = registry?.isFaster(bytesPerSecond) === true ? slowLooks + 1 : 0;
    if (slowLooks < SLOW_LOOKS_MAX || bytesLeft() < bytesPerSecond * SECONDS_LEFT_MIN) return;
    registry?.leave();
    metrics.left.inc();
    relay.leave();
  };

  return {
    reads: (attempt, provider) => {
      const meter = createThroughputMeter(now);
      const isInTurns = () => relay.state().turns !== undefined;
      bodies.set(attempt, { provider, meter });
      if (!isInTurns()) lookLater();
      return {
        arrived: (byteCount) => {
          meter.arrived(byteCount);
          if (isInTurns()) brought.set(provider, (brought.get(provider) ?? 0) + byteCount);
        },
        taken: () => meter.taken(),
        ended: () => {
          // A part is too little to tell.
          if (!isInTurns()) measure(provider, meter, TOLD_BYTES_MIN);
        },
      };
    },
    beganTurns: () => {
      vainLooks = 0;
      startLook();
      lookLater();
    },
    early: () => early,
    over: (attempt) => {
      bodies.delete(attempt);
    },
    stop: () => {
      stopLooking();
      early?.close();
    },
  };
}
