import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** Why this node ended a member's connection, or never took it. */
export type DropReason =
  /** It proved none of our keys. */
  | 'key'
  /** It sent what is no frame, or a frame that it may not send. */
  | 'frame'
  /** It sent more than a member has reason to. */
  | 'flood'
  /** It sent nothing for too long. */
  | 'hung'
  /** The source of members names it no more. */
  | 'removed';

type LookupResult = 'found' | 'absent' | 'aborted';

export interface SwarmMetrics {
  dropped(reason: DropReason): void;
  lookup(result: LookupResult, seconds: number): void;
  refused(records: number): void;
}

/** Read when metrics are asked for. */
interface SwarmGauges {
  readonly members: () => number;
  readonly keysAdvertised: () => number;
  readonly recordsKept: () => number;
}

/** From a tenth of what a lookup takes within a rack to over what it may take at most. */
const LOOKUP_SECONDS_BUCKETS = [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5];

export function registerSwarmMetrics(registry: Registry, gauges: SwarmGauges): SwarmMetrics {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(read());
      },
    });
  gauge('miroir_swarm_members', 'Other members that are connected now.', gauges.members);
  gauge(
    'miroir_swarm_keys_advertised',
    'Digests and tags that this node told the swarm it has.',
    gauges.keysAdvertised,
  );
  gauge('miroir_swarm_records', "Records of other members' content that this node keeps.", gauges.recordsKept);
  const dropped = new Counter({
    name: 'miroir_swarm_peers_dropped_total',
    help: 'Connections to members that this node ended, by reason.',
    labelNames: ['reason'],
    registers,
  });
  const lookups = new Histogram({
    name: 'miroir_swarm_lookup_seconds',
    help: 'Time to the first provider, or to the answer that there is none.',
    labelNames: ['result'],
    buckets: LOOKUP_SECONDS_BUCKETS,
    registers,
  });
  const refused = new Counter({
    name: 'miroir_swarm_records_refused_total',
    help: 'Records that this node had no room for.',
    registers,
  });
  return {
    dropped: (reason) => dropped.inc({ reason }),
    lookup: (result, seconds) => lookups.observe({ result }, seconds),
    refused: (records) => refused.inc(records),
  };
}
