import type { Provider } from '../swarm/router.ts';
import type { Standing } from './pick-peer.ts';
import type { Fault } from './relay.ts';
import type { Throughput } from './throughput.ts';

export interface PeerMemoryDeps {
  readonly now: () => number;
}

/** What this node remembers of the peers it asked, by their address: that is who answered, whoever named it. */
export interface PeerMemory {
  standing(provider: Provider): Standing;
  blame(provider: Provider, fault: Fault): void;
  started(provider: Provider): void;
  ended(provider: Provider): void;
  /** A peer answered in so many milliseconds. */
  answered(ms: number): void;
  /** A peer sends so fast; only at least so fast where its client takes no more. */
  measured(provider: Provider, throughput: Pick<Throughput, 'bytesPerSecond' | 'isPeersPace'>): void;
  /** How long peers lately needed to answer, and some: whoever takes longer is late. */
  lateAfterMs(): number;
}

/** Before anybody answered, and for the fastest and the slowest networks. */
const LATE_MS = 200;
const LATE_MS_MIN = 30;
const LATE_MS_MAX = 500;
/** As TCP does with round trips (RFC 6298): the mean, and four times its deviation, each of the last answers or so. */
const MEAN_SHARE = 1 / 8;
const DEVIATION_SHARE = 1 / 4;
const DEVIATIONS = 4;

interface Entry {
  penalty: number;
  penaltyAtMs: number;
  bannedUntilMs: number;
  inFlight: number;
  /** Bytes per second, of the last look that told. */
  rate: number | undefined;
  rateAtMs: number;
}

/** A peer's network or disk may be busy with something else by then. */
const RATE_FRESH_MS = 60_000;

/** Half a penalty is forgotten in this time: a peer that restarts is back within a minute. */
const HALF_LIFE_MS = 30_000;

/** A peer that sent wrong bytes has a broken disk or memory, or is hostile: neither heals by itself. */
const BAN_MS = 10 * 60_000;

/** More peers than any cluster has nodes; what was longest unused is forgotten first. */
const PEERS_MAX = 8192;

const PENALTIES: Readonly<Record<Fault, number>> = {
  // It was found by a record that is older than a deletion there: no fault of the peer.
  absent: 0,
  busy: 0,
  // A second slip within a minute is one too many: each may hold up a part of a pull for as long as an answer is waited for.
  unavailable: 1.2,
  'broke-off': 3,
  misbehaved: 3,
  suspect: 3,
  'wrong-bytes': 3,
};

const UNMEASURED = { rate: undefined, rateAtMs: 0 };

export function createPeerMemory({ now }: PeerMemoryDeps): PeerMemory {
  /** In order of use, the oldest first. */
  const entries = new Map<string, Entry>();

  const entryOf = ({ address }: Provider): Entry => {
    const entry = entries.get(address) ?? {
      penalty: 0,
      penaltyAtMs: now(),
      bannedUntilMs: 0,
      inFlight: 0,
      ...UNMEASURED,
    };
    entries.delete(address);
    entries.set(address, entry);
    const [oldest] = entries.keys();
    if (entries.size > PEERS_MAX && oldest !== undefined) entries.delete(oldest);
    return entry;
  };

  let meanMs: number | undefined;
  let deviationMs = 0;

  const faded = (entry: Entry) => entry.penalty * 0.5 ** ((now() - entry.penaltyAtMs) / HALF_LIFE_MS);

  const rateOf = (entry: Entry | undefined) =>
    entry !== undefined && now() - entry.rateAtMs < RATE_FRESH_MS ? entry.rate : undefined;

  const standing = ({ address }: Provider): Standing => {
    const entry = entries.get(address);
    if (entry === undefined) return { penalty: 0, inFlight: 0, isBanned: false, bytesPerSecond: undefined };
    return {
      penalty: faded(entry),
      inFlight: entry.inFlight,
      isBanned: entry.bannedUntilMs > now(),
      bytesPerSecond: rateOf(entry),
    };
  };

  return {
    standing,
    measured: (provider, { bytesPerSecond, isPeersPace }) => {
      const entry = entryOf(provider);
      if (!isPeersPace && bytesPerSecond < (rateOf(entry) ?? 0)) return;
      entry.rate = bytesPerSecond;
      entry.rateAtMs = now();
    },
    blame: (provider, fault) => {
      if (PENALTIES[fault] === 0) return;
      const entry = entryOf(provider);
      entry.penalty = faded(entry) + PENALTIES[fault];
      entry.penaltyAtMs = now();
      if (fault === 'wrong-bytes') entry.bannedUntilMs = now() + BAN_MS;
    },
    started: (provider) => {
      entryOf(provider).inFlight += 1;
    },
    answered: (ms) => {
      if (meanMs === undefined) {
        meanMs = ms;
        deviationMs = ms / 2;
        return;
      }
      deviationMs += DEVIATION_SHARE * (Math.abs(ms - meanMs) - deviationMs);
      meanMs += MEAN_SHARE * (ms - meanMs);
    },
    lateAfterMs: () => {
      if (meanMs === undefined) return LATE_MS;
      return Math.min(Math.max(meanMs + DEVIATIONS * deviationMs, LATE_MS_MIN), LATE_MS_MAX);
    },
    ended: (provider) => {
      const entry = entryOf(provider);
      entry.inFlight = Math.max(0, entry.inFlight - 1);
    },
  };
}
