import { Counter, type Registry as MetricsRegistry } from 'prom-client';

export interface PeersMetrics {
  readonly requests: Counter<'kind' | 'outcome'>;
  readonly sentBytes: Counter;
  readonly refusedConnections: Counter;
}

export function createPeersMetrics(registry: MetricsRegistry): PeersMetrics {
  const registers = [registry];
  return {
    requests: new Counter({
      name: 'miroir_peer_requests_total',
      help: 'Requests from other mirrors, by kind (manifest, blob) and outcome (served, followed while it arrives, absent, busy).',
      labelNames: ['kind', 'outcome'],
      registers,
    }),
    sentBytes: new Counter({
      name: 'miroir_peer_sent_bytes_total',
      help: 'Bytes of content sent to other mirrors.',
      registers,
    }),
    refusedConnections: new Counter({
      name: 'miroir_peer_refused_connections_total',
      help: 'Connections to the peer server that did not prove the swarm key.',
      registers,
    }),
  };
}
