import { Counter, Gauge, type Registry as MetricsRegistry } from 'prom-client';
import { BYPASS_REASONS } from '../decision.ts';
import type { Breaker, NodeCounts } from './breaker.ts';
import type { LabelNodesMetrics } from './label-nodes.ts';

/** What a scrape looks at. */
export interface GateState {
  readonly counts: () => NodeCounts | undefined;
  readonly breaker: () => Breaker;
  readonly isLeader: () => boolean;
}

export interface GateMetrics extends LabelNodesMetrics {
  /** Called once. */
  observe(state: GateState): void;
}

/** The nodes as this replica sees them, and what the leader does about them. */
export function createGateMetrics(registry: MetricsRegistry): GateMetrics {
  const registers = [registry];
  const looks = new Counter({
    name: 'miroir_gate_looks_total',
    help: "Looks at nodes' verdicts, by what was seen (compatible, incompatible, unknown, silent, gone).",
    labelNames: ['verdict'],
    registers,
  });
  const writes = new Counter({
    name: 'miroir_gate_node_writes_total',
    help: 'Nodes whose label, annotation or condition was written.',
    registers,
  });
  return {
    looked: (verdict) => looks.inc({ verdict }),
    nodeWritten: () => writes.inc(),
    observe: (state) => observe(registry, state),
  };
}

function observe(registry: MetricsRegistry, { counts, breaker, isLeader }: GateState): void {
  const registers = [registry];
  new Gauge({
    name: 'miroir_gate_nodes',
    help: 'Nodes by what their label says (compatible, incompatible, unlabelled).',
    labelNames: ['label'],
    registers,
    collect() {
      for (const [label, count] of Object.entries(counts() ?? {})) this.set({ label }, count as number);
    },
  });
  new Gauge({
    name: 'miroir_gate_bypassed',
    help: '1 for why a gate mode is bypassed now, 0 for other reasons.',
    labelNames: ['mode', 'reason'],
    registers,
    collect() {
      for (const [mode, now] of Object.entries(breaker())) {
        for (const reason of BYPASS_REASONS) this.set({ mode, reason }, reason === now ? 1 : 0);
      }
    },
  });
  new Gauge({
    name: 'miroir_webhook_leader',
    help: '1 when this replica leads, 0 otherwise.',
    registers,
    collect() {
      this.set(isLeader() ? 1 : 0);
    },
  });
}
