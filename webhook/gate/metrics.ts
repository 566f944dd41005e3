import { Counter, Gauge, type Registry as MetricsRegistry } from 'prom-client';
import { BYPASS_REASONS, type BypassReason } from '../decision.ts';
import type { NodeCounts } from './breaker.ts';
import type { LabelNodesMetrics } from './label-nodes.ts';
import type { LiftGatesMetrics } from './lift-gates.ts';

/** What a scrape looks at. */
export interface GateState {
  readonly counts: () => NodeCounts | undefined;
  readonly bypassed: () => Readonly<Record<'block' | 'require' | 'wait', BypassReason | undefined>>;
  readonly isLeader: () => boolean;
  /** Undefined where this replica does not follow pods. */
  readonly pods: () => { readonly waiting: number; readonly missed: number } | undefined;
}

export interface GateMetrics extends LabelNodesMetrics, LiftGatesMetrics {
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
  const lifted = new Counter({
    name: 'miroir_gate_lifted_total',
    help: 'Pods of mode wait that were let go, by reason (ready, timeout).',
    labelNames: ['reason'],
    registers,
  });
  return {
    lifted: (reason) => lifted.inc({ reason }),
    looked: (verdict) => looks.inc({ verdict }),
    nodeWritten: () => writes.inc(),
    observe: (state) => observe(registry, state),
  };
}

function observe(registry: MetricsRegistry, { counts, bypassed, isLeader, pods }: GateState): void {
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
      for (const [mode, now] of Object.entries(bypassed())) {
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
  for (const [name, key, help] of [
    ['miroir_pods_waiting', 'waiting', 'Pods of mode wait that are held back now, as the leader sees them.'],
    ['miroir_pods_missed', 'missed', 'Pods that opted in and run without the gate, as the leader sees them.'],
  ] as const) {
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(pods()?.[key] ?? 0); // Others follow no pods: the sum over replicas is what there is.
      },
    });
  }
}
