import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Gauge, type Registry as MetricsRegistry } from 'prom-client';
import { hasCode } from '../common/errors.ts';
import type { Component } from '../common/lifecycle.ts';
import type { Logger } from '../common/log.ts';
import type { FollowedEvent } from '../containerd/events.ts';
import { verdictOfFault } from '../containerd/verdict/judge-containerd.ts';
import type { JudgedNode } from '../containerd/verdict/judge-node.ts';
import type { Verdict, VerdictResult } from '../containerd/verdict/verdict.ts';

export interface NodeVerdictDeps {
  /** Judges the node as it is now. Throws ERR_ABORTED, and nothing else but faults. */
  readonly judge: (signal: AbortSignal) => Promise<JudgedNode>;
  /** Tells the stamp of a configuration as it is now. */
  readonly stampOf: (configFile: string) => Promise<string>;
  /** containerd's events, across its restarts. */
  readonly follow: (signal: AbortSignal) => AsyncIterable<FollowedEvent>;
  readonly log: Logger;
  readonly metrics: NodeVerdictMetrics;
  readonly now: () => number;
}

/** A verdict, and when it was reached. */
export interface DatedVerdict extends Verdict {
  /** Undefined as long as nothing was judged. */
  readonly judgedAt: string | undefined;
}

export interface NodeVerdict extends Component {
  current(): DatedVerdict;
}

export interface NodeVerdictMetrics {
  readonly verdict: Gauge<'result'>;
}

/** Editors and configuration management write a file in several steps. */
const SETTLE_MS = 300;
/** Watches are lost when a folder is moved away, and some file systems have none: then a change is seen by then. */
const LOOK_INTERVAL_MS = 20_000;

const RESULTS: readonly VerdictResult[] = ['compatible', 'incompatible', 'unknown'];

export function createNodeVerdictMetrics(registry: MetricsRegistry): NodeVerdictMetrics {
  return {
    verdict: new Gauge({
      name: 'miroir_containerd_verdict',
      help: "1 for what this node's containerd is to a mirror, 0 for the rest",
      labelNames: ['result'],
      registers: [registry],
    }),
  };
}

/** Keeps the node's verdict: judges it at the start, and again when containerd restarts or its files change. */
export function createNodeVerdict(deps: NodeVerdictDeps): NodeVerdict {
  const { judge, stampOf, follow, log, metrics, now } = deps;
  const stopping = new AbortController();
  let current: DatedVerdict = { ...PENDING, judgedAt: undefined };
  let watchers: readonly fs.FSWatcher[] = [];
  let isDemanded = true;
  let sleep = new AbortController();
  let running: Promise<unknown> | undefined;

  function demand(): void {
    isDemanded = true;
    sleep.abort();
  }

  async function keepJudging(signal: AbortSignal): Promise<void> {
    let judged: JudgedNode | undefined;
    while (!signal.aborted) {
      if (isDemanded || judged === undefined || (await isChanged(judged))) {
        await delay(SETTLE_MS, undefined, { signal });
        isDemanded = false;
        judged = await judgeOnce(signal);
      }
      sleep = new AbortController();
      const woken = AbortSignal.any([signal, sleep.signal]);
      if (!isDemanded) await delay(LOOK_INTERVAL_MS, undefined, { signal: woken }).catch(() => {});
    }
  }

  async function isChanged({ configFile, stamp }: JudgedNode): Promise<boolean> {
    return (await stampOf(configFile)) !== stamp;
  }

  async function judgeOnce(signal: AbortSignal): Promise<JudgedNode | undefined> {
    let judged: JudgedNode | undefined;
    let fault: unknown;
    try {
      judged = await judge(signal);
    } catch (error) {
      if (signal.aborted) throw error;
      fault = error;
      log.error('Judging containerd failed: this is a bug in miroir', { error });
    }
    const before = summaryOf(current);
    current = { ...(judged?.verdict ?? verdictOfFault(fault)), judgedAt: new Date(now()).toISOString() };
    for (const result of RESULTS) metrics.verdict.set({ result }, result === current.result ? 1 : 0);
    if (summaryOf(current) !== before) tell(current);
    for (const watcher of watchers) watcher.close();
    watchers = watchAll(judged?.watched ?? [], demand);
    return judged;
  }

  function tell({ result, containerd, reasons }: Verdict): void {
    const fields = { result, containerd, reasons: reasons.map(({ code }) => code) };
    if (result === 'compatible') log.info('containerd asks this mirror', fields);
    else log.warn('containerd may not ask this mirror: see /verdict', fields);
  }

  async function keepFollowing(signal: AbortSignal): Promise<void> {
    for await (const { type } of follow(signal)) {
      // The first image tells whether layers stay, where nothing else did.
      if (type === 'subscribed' || (type === 'image-created' && current.result === 'unknown')) demand();
    }
  }

  return {
    current: () => current,
    start: async () => {
      const { signal } = stopping;
      const parts = [keepJudging(signal), keepFollowing(signal)];
      running = Promise.all(parts).catch((error: unknown) => {
        if (!signal.aborted || !isAbort(error)) throw error;
      });
    },
    stop: async () => {
      stopping.abort();
      await running;
      for (const watcher of watchers) watcher.close();
    },
  };
}

const PENDING: Verdict = {
  result: 'unknown',
  containerd: undefined,
  distribution: undefined,
  reasons: [
    { code: 'not-judged', weighs: 'unknown', sentence: 'this node is being judged', evidence: [], fix: undefined },
  ],
};

function summaryOf({ result, reasons }: Verdict): string {
  return [result, ...reasons.map(({ code }) => code)].join();
}

function isAbort(error: unknown): boolean {
  return hasCode(error, 'ERR_ABORTED') || (error instanceof Error && error.name === 'AbortError');
}

/** Watches the folders that hold these files, and those of them that are folders themselves. */
function watchAll(paths: readonly string[], onChange: () => void): readonly fs.FSWatcher[] {
  const watched = new Set(paths);
  const folders = new Set(paths.flatMap((file) => [path.dirname(file), file]).filter(isFolder));
  return [...folders].flatMap((folder) => {
    try {
      const watcher = fs.watch(folder, { persistent: false }, (_type, name) => {
        if (name === null || watched.has(folder) || watched.has(path.join(folder, name))) onChange();
      });
      watcher.on('error', () => watcher.close()); // It is gone; a look at the files will tell.
      return [watcher];
    } catch {
      return []; // The system has no more watches to give.
    }
  });
}

function isFolder(file: string): boolean {
  return fs.statSync(file, { throwIfNoEntry: false })?.isDirectory() ?? false;
}
