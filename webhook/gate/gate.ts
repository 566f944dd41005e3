import type { Component } from '../../common/lifecycle.ts';
import type { AdmissionContext } from '../admission/mutate-pod.ts';
import { createElector, type ElectorTimes } from '../kube/elector.ts';
import { createPermission } from '../kube/permission.ts';
import { judgeBreaker } from './breaker.ts';
import { bypassWarning } from './bypass.ts';
import { createTerm, type LeaderDeps, type LeaderOptions, type Term } from './lead.ts';
import type { GateMetrics } from './metrics.ts';
import { createNodes } from './nodes.ts';

export interface GateDeps extends Omit<LeaderDeps, 'nodes' | 'breaker' | 'metrics'> {
  readonly metrics: GateMetrics;
}

export interface GateOptions extends LeaderOptions {
  /** The Lease by which replicas choose who leads. */
  readonly lease: string;
  /** Of this replica, unique. */
  readonly identity: string;
  readonly electorTimes: ElectorTimes;
  /** 0 to 1. */
  readonly incompatibleShareMax: number;
}

export interface Gate extends Component {
  isSynced(): boolean;
  /** What cannot be had at this moment, in words for users. */
  bypass(): AdmissionContext['bypass'];
}

/** Knows the nodes, decides when to bypass the gate, and sees to nodes and pods while this replica leads. */
export function createGate(deps: GateDeps, options: GateOptions): Gate {
  const { client, log, random, metrics } = deps;
  const { namespace, lease: name, identity, electorTimes: times } = options;
  const nodes = createNodes({ client, log, random });
  /** To take a scheduling gate away. */
  const permission = createPermission({ client, log }, { verb: 'patch', resource: 'pods' });
  let term: Term | undefined;
  const elector = createElector({ client, log, lead }, { namespace, name, identity, times });
  const breaker = () => judgeBreaker(nodes.counts(), options.incompatibleShareMax);
  metrics.observe({
    counts: () => nodes.counts(),
    bypassed: () => ({ ...breaker(), wait: waitBypass() }),
    isLeader: () => elector.isLeader(),
    pods: () => term?.pods(),
  });

  async function lead(signal: AbortSignal): Promise<void> {
    const mine = createTerm({ ...deps, nodes, breaker }, options);
    term = mine;
    try {
      await mine.run(signal);
    } finally {
      if (term === mine) term = undefined;
    }
  }

  function waitBypass(): 'nobody-lifts' | undefined {
    return elector.hasLeader() && permission.isGranted() ? undefined : 'nobody-lifts';
  }

  return {
    start: async (signal) => {
      await nodes.start(signal);
      await permission.start(signal);
      await elector.start(signal);
    },
    stop: async () => {
      await elector.stop();
      await permission.stop();
      await nodes.stop();
    },
    isSynced: () => nodes.isSynced(),
    bypass: () => {
      const { block, require } = breaker();
      return {
        block: bypassWarning('block', block),
        require: bypassWarning('require', require),
        wait: bypassWarning('wait', waitBypass()),
      };
    },
  };
}
