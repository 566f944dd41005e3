import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../../common/log.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Breaker } from './breaker.ts';
import type { NodeTimes } from './decide-node.ts';
import { createEventRecorder } from './events.ts';
import { createNodeLabeller, type LabelNodesMetrics } from './label-nodes.ts';
import { createGateLifter, type LiftGatesMetrics } from './lift-gates.ts';
import { createMirrors } from './mirrors.ts';
import type { Nodes } from './nodes.ts';
import { createPods } from './pods.ts';
import { readVerdict } from './read-verdict.ts';
import { createTeller } from './tell-changes.ts';

export interface LeaderDeps {
  readonly client: KubeClient;
  readonly log: Logger;
  /** 0 to 1. */
  readonly random: () => number;
  readonly metrics: LabelNodesMetrics & LiftGatesMetrics;
  readonly nodes: Nodes;
  readonly breaker: () => Breaker;
  readonly isOptedIn: (namespace: string) => boolean;
}

export interface LeaderOptions {
  /** That Miroir runs in. */
  readonly namespace: string;
  /** Of the mirrors' pods. */
  readonly mirrorSelector: string;
  /** Where mirrors tell their verdict, on the address of their node. */
  readonly mirrorHealthPort: number;
  /** Between two looks at all mirrors. */
  readonly verdictIntervalMs: number;
  /** How long a node may be without a mirror before its label goes. */
  readonly forgetMs: number;
  /** How long a pod of mode `wait` waits at most. */
  readonly waitTimeoutMs: number;
}

/** One term of leading. */
export interface Term {
  /** Ends when the signal aborts, and not before. */
  run(signal: AbortSignal): Promise<void>;
  /** What the leader sees of pods. */
  pods(): { readonly waiting: number; readonly missed: number };
}

/** A word stands when it was seen again about this many intervals later: clocks and rounds are not exact. */
const CONFIRM_INTERVALS = 0.8;
/** A mirror that is restarted, with its image pulled, is back by then. */
const SILENCE_INTERVALS = 8;
/** Between two looks at pods that wait. */
const LIFT_INTERVAL_MS = 1_000;
/** Between two looks whether lists are read. */
const SYNC_POLL_MS = 50;

/** What the leader does, for as long as it leads: nodes are labelled, pods are let go, what is missing is told. */
export function createTerm(deps: LeaderDeps, options: LeaderOptions): Term {
  const { client, log, random, metrics, nodes, breaker, isOptedIn } = deps;
  const { namespace, mirrorHealthPort, verdictIntervalMs } = options;
  const now = () => performance.now();
  const following = { client, log, random };
  const mirrors = createMirrors(following, { namespace, selector: options.mirrorSelector });
  const pods = createPods(following, namespace);
  const recordEvent = createEventRecorder(client, log);
  const read = (host: string, signal: AbortSignal) => readVerdict(host, mirrorHealthPort, signal);
  const times: NodeTimes = {
    confirmMs: CONFIRM_INTERVALS * verdictIntervalMs,
    silenceMs: SILENCE_INTERVALS * verdictIntervalMs,
    forgetMs: options.forgetMs,
  };
  const labeller = createNodeLabeller(
    { client, nodes, mirrors, readVerdict: read, recordEvent, metrics, log, now },
    times,
  );
  const isAnyReady = () => labeller.isAnyReady();
  const lifter = createGateLifter(
    { client, pods, isAnyReady, recordEvent, metrics, log, now, wallNow: () => Date.now() },
    options.waitTimeoutMs,
  );
  const teller = createTeller({ recordEvent, now }, namespace);
  const missed = () => pods.missed(isOptedIn);

  async function keepLabelling(signal: AbortSignal): Promise<void> {
    // A list that is not read yet would make every mirror look gone.
    while (!nodes.isSynced() || !mirrors.isSynced()) await delay(SYNC_POLL_MS, undefined, { signal });
    for (;;) {
      await labeller.round(signal).catch(warn('Not all nodes could be labelled', signal));
      await teller.tell(breaker(), missed(), signal);
      await delay(verdictIntervalMs, undefined, { signal });
    }
  }

  async function keepLifting(signal: AbortSignal): Promise<void> {
    for (;;) {
      await lifter.round(signal).catch(warn('Not all pods could be let go', signal));
      await delay(LIFT_INTERVAL_MS, undefined, { signal });
    }
  }

  const warn = (message: string, signal: AbortSignal) => (error: unknown) => {
    if (!signal.aborted) log.warn(message, { error });
  };

  return {
    run: async (signal) => {
      await mirrors.start(signal);
      await pods.start(signal);
      try {
        await Promise.all([keepLabelling(signal), keepLifting(signal)]);
      } finally {
        await pods.stop();
        await mirrors.stop();
      }
    },
    pods: () => ({ waiting: pods.held().length, missed: missed().length }),
  };
}
