import { Counter, collectDefaultMetrics, Gauge, type Registry as MetricsRegistry } from 'prom-client';
import type { AdvertiserMetrics } from './advertiser.ts';

/** What a node holds, and what changed of it; and the process's own figures. */
export function createMirrorMetrics(registry: MetricsRegistry): AdvertiserMetrics {
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const events = new Counter({
    name: 'miroir_oci_events_total',
    help: 'Changes of what this node holds, by type (CREATE, UPDATE, DELETE).',
    labelNames: ['type'],
    registers,
  });
  const held = new Gauge({
    name: 'miroir_held_keys',
    help: 'What this node holds and tells the swarm, by kind (digest, tag).',
    labelNames: ['kind'],
    registers,
  });
  return {
    ociEvent: (type) => events.inc({ type }),
    held: (digests, tags) => {
      held.set({ kind: 'digest' }, digests);
      held.set({ kind: 'tag' }, tags);
    },
  };
}
