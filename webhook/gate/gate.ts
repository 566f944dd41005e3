import { setTimeout as delay } from 'node:timers/promises';
import type { Component } from '../../common/lifecycle.ts';
import type { Logger } from '../../common/log.ts';
import type { AdmissionContext } from '../admission/mutate-pod.ts';
import type { KubeClient } from '../kube/client.ts';
import { createElector, type ElectorTimes } from '../kube/elector.ts';
import { judgeBreaker } from './breaker.ts';
import { bypassWarning } from './bypass.ts';
import { createEventRecorder } from './events.ts';
import { createNodeLabeller } from './label-nodes.ts';
import type { GateMetrics } from './metrics.ts';
import { createMirrors } from './mirrors.ts';
import { createNodes } from './nodes.ts';
import { readVerdict } from './read-verdict.ts';

export interface GateDeps {
  readonly client: KubeClient;
  readonly log: Logger;
  /** 0 to 1. */
  readonly random: () => number;
  readonly metrics: GateMetrics;
}

export interface GateOptions {
  /** That Miroir runs in. */
  readonly namespace: string;
  /** The Lease by which replicas choose who leads. */
  readonly lease: string;
  /** Of this replica, unique. */
  readonly identity: string;
  readonly electorTimes: ElectorTimes;
  /** Of the mirrors' pods. */
  readonly mirrorSelector: string;
  /** Where mirrors tell their verdict, on the address of their node. */
  readonly mirrorHealthPort: number;
  /** Between two looks at all mirrors. */
  readonly verdictIntervalMs: number;
  /** How long a node may be without a mirror before its label goes. */
  readonly forgetMs: number;
  /** 0 to 1. */
  readonly incompatibleShareMax: number;
}

export interface Gate extends Component {
  isSynced(): boolean;
  /** What cannot be had at this moment, in words for users. */
  bypass(): AdmissionContext['bypass'];
}

/** A word stands when it was seen again about this many intervals later: clocks and rounds are not exact. */
const CONFIRM_INTERVALS = 0.8;
/** A mirror that is restarted, with its image pulled, is back by then. */
const SILENCE_INTERVALS = 8;
/** Between two looks whether the lists are read. */
const SYNC_POLL_MS = 50;

/** Knows the nodes, decides when to bypass the gate, and keeps the nodes' labels while this replica leads. */
export function createGate({ client, log, random, metrics }: GateDeps, options: GateOptions): Gate {
  const { namespace, lease: name, identity, electorTimes: times, verdictIntervalMs } = options;
  const following = { client, log, random };
  const nodes = createNodes(following);
  const elector = createElector({ client, log, lead }, { namespace, name, identity, times });
  metrics.observe({ counts: () => nodes.counts(), breaker: () => breaker(), isLeader: () => elector.isLeader() });

  function breaker() {
    return judgeBreaker(nodes.counts(), options.incompatibleShareMax);
  }

  async function lead(signal: AbortSignal): Promise<void> {
    const mirrors = createMirrors(following, { namespace, selector: options.mirrorSelector });
    const labeller = createNodeLabeller(
      {
        client,
        nodes,
        mirrors,
        readVerdict: (host, looking) => readVerdict(host, options.mirrorHealthPort, looking),
        recordEvent: createEventRecorder(client, log),
        metrics,
        log,
        now: () => performance.now(),
      },
      {
        confirmMs: CONFIRM_INTERVALS * verdictIntervalMs,
        silenceMs: SILENCE_INTERVALS * verdictIntervalMs,
        forgetMs: options.forgetMs,
      },
    );
    await mirrors.start(signal);
    try {
      // A list that is not read yet would make every mirror look gone.
      while (!nodes.isSynced() || !mirrors.isSynced()) await delay(SYNC_POLL_MS, undefined, { signal });
      await keepLabelling(labeller, signal);
    } finally {
      await mirrors.stop();
    }
  }

  async function keepLabelling(labeller: { round(signal: AbortSignal): Promise<void> }, signal: AbortSignal) {
    for (;;) {
      await labeller.round(signal).catch((error: unknown) => {
        if (!signal.aborted) log.warn('Not all nodes could be labelled', { error });
      });
      await delay(verdictIntervalMs, undefined, { signal });
    }
  }

  return {
    start: async (signal) => {
      await nodes.start(signal);
      await elector.start(signal);
    },
    stop: async () => {
      await elector.stop();
      await nodes.stop();
    },
    isSynced: () => nodes.isSynced(),
    bypass: () => {
      const { block, require } = breaker();
      return {
        block: bypassWarning('block', block),
        require: bypassWarning('require', require),
        wait: bypassWarning('wait', 'nobody-lifts'),
      };
    },
  };
}
