import { Counter, Histogram, type Registry as MetricsRegistry } from 'prom-client';

export interface TransferMetrics {
  readonly resumes: Counter;
  readonly switches: Counter;
  readonly turns: Counter;
  readonly left: Counter;
  readonly cuts: Counter;
  readonly gaveWay: Counter;
  readonly bans: Counter;
  readonly syncSeconds: Histogram;
}

/** From a disk that has nothing else to do to one that is overloaded. */
const SYNC_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

export function createTransferMetrics(registry: MetricsRegistry): TransferMetrics {
  const counter = (name: string, help: string) => new Counter({ name, help, registers: [registry] });
  return {
    resumes: counter('miroir_relay_resumes_total', 'Transfers that went on at another peer after one broke off.'),
    switches: counter('miroir_relay_switches_total', 'Transfers that went on at a faster peer while a slow one sent.'),
    turns: counter(
      'miroir_relay_turns_total',
      'Transfers that two peers sent in turns from then on, as one alone did not fill the pipe.',
    ),
    left: counter(
      'miroir_relay_left_total',
      'Transfers that ended early because the registry is known to be much faster than the peers that have the rest.',
    ),
    cuts: counter('miroir_relay_cuts_total', 'Transfers that ended early because no peer could go on.'),
    gaveWay: counter(
      'miroir_relay_gave_way_total',
      'Requests of containerd that ended early so that it could begin to fetch something else.',
    ),
    bans: counter('miroir_peer_bans_total', 'Peers that were banned because they sent wrong bytes.'),
    syncSeconds: new Histogram({
      name: 'miroir_relay_sync_seconds',
      help: 'How long the disk took each time to keep what had arrived of a layer, which a pull does not wait for.',
      buckets: SYNC_BUCKETS,
      registers: [registry],
    }),
  };
}

export interface RegistryMetrics {
  readonly requests: Counter<'kind' | 'source' | 'registry'>;
  readonly bytes: Counter<'source' | 'registry'>;
  readonly firstByteSeconds: Histogram<'kind' | 'source'>;
  readonly shed: Counter;
}

/** From a cached manifest to a peer that was asked last. */
const FIRST_BYTE_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5];

export function createRegistryMetrics(registry: MetricsRegistry): RegistryMetrics {
  const registers = [registry];
  return {
    requests: new Counter({
      name: 'miroir_registry_requests_total',
      help: 'Requests for content, by kind (manifest, blob), source (local, peer, none) and registry (by name, or other).',
      labelNames: ['kind', 'source', 'registry'],
      registers,
    }),
    bytes: new Counter({
      name: 'miroir_registry_sent_bytes_total',
      help: 'Bytes of content sent to clients, by source (local, peer) and registry (by name, or other).',
      labelNames: ['source', 'registry'],
      registers,
    }),
    firstByteSeconds: new Histogram({
      name: 'miroir_registry_first_byte_seconds',
      help: 'From a request for content to the first byte of its answer, by kind and source.',
      labelNames: ['kind', 'source'],
      buckets: FIRST_BYTE_BUCKETS,
      registers,
    }),
    shed: new Counter({
      name: 'miroir_registry_shed_requests_total',
      help: 'Requests that were answered by 404 at once because the node was too busy to answer in time.',
      registers,
    }),
  };
}
