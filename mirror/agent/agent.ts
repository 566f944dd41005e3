import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { collectDefaultMetrics, Registry as MetricsRegistry } from 'prom-client';
import type { HostPort } from '../../common/host-port.ts';
import { createHealthApp } from '../../common/http/health-app.ts';
import { listen } from '../../common/http/listen.ts';
import { type Component, closing, createAssembly, createLoop } from '../../common/lifecycle.ts';
import type { Logger } from '../../common/log.ts';
import type { Registry } from '../../common/oci/reference.ts';
import { type FindUpstreamOptions, findUpstream } from '../../containerd/find-upstream.ts';
import { createUrlAsker } from '../upstream/ask-url.ts';
import type { ProxyEnv } from '../upstream/proxy-env.ts';
import { createRegistryReader } from '../upstream/registry-reader.ts';
import { createFront, createFrontMetrics } from './front.ts';
import { createMirrorClient, type MirrorClient } from './mirror-client.ts';

export interface AgentDeps {
  readonly log: Logger;
}

/** Where registries are is read as on a node, where there is something to read. */
export interface AgentOptions extends FindUpstreamOptions {
  /** A loopback address. */
  readonly registryAddress: HostPort;
  readonly healthAddress: HostPort;
  readonly mirror: HostPort;
  readonly tokenFile: string;
  readonly defaultRegistry: Registry;
  readonly answerTags: boolean;
  readonly waitForMirrorMs: number;
  /** How registries are asked. */
  readonly proxy: ProxyEnv;
}

/** Between two looks for a mirror that is not there yet. */
const LOOK_MS = 250;

/** A pod's own way to the mirror of its node: other containers of the pod are started when it is ready, or was waited for long enough. */
export function createAgent({ log }: AgentDeps, options: AgentOptions): Component {
  return createAssembly({ log }, async function* () {
    const metrics = new MetricsRegistry();
    collectDefaultMetrics({ register: metrics });
    const token = async () => (await readFile(options.tokenFile, 'utf8')).trim();
    const mirror = createMirrorClient({ token, log, now: () => performance.now() }, { mirror: options.mirror });
    yield closing(() => mirror.close());
    const urls = createUrlAsker(options.proxy);
    yield closing(() => urls.close());
    const registry = createRegistryReader({ urls, findUpstream: (name) => findUpstream(options, name) });
    yield createFront(
      { mirror, registry, log, metrics: createFrontMetrics(metrics) },
      {
        address: options.registryAddress,
        defaultRegistry: options.defaultRegistry,
        answerTags: options.answerTags,
      },
    );
    let isWaiting = true;
    const missing = () => (isWaiting ? 'it does not answer yet' : undefined);
    const health = createHealthApp({ metrics, checks: [{ name: 'mirror', missing }], pages: {} });
    yield {
      start: async () => {
        await health.ready();
        await listen(health.server, options.healthAddress);
      },
      stop: () => health.close(),
    };
    yield createLoop(async (signal) => {
      const isThere = await waitForMirror(
        mirror,
        AbortSignal.any([signal, AbortSignal.timeout(options.waitForMirrorMs)]),
      );
      isWaiting = false;
      if (isThere) log.info('The mirror of the node answers');
      else if (!signal.aborted) log.warn('The pod does not wait any longer for the mirror of its node');
    });
    log.info('Agent started', { mirror: options.mirror });
  });
}

async function waitForMirror(mirror: MirrorClient, signal: AbortSignal): Promise<boolean> {
  while (!signal.aborted) {
    const answered = await mirror.ask({ method: 'GET', path: '/v2/', headers: {} }, signal);
    answered?.resume();
    if (answered?.statusCode === 200) return true;
    await delay(LOOK_MS, undefined, { signal }).catch(() => {}); // It ends by the loop's condition.
  }
  return false;
}
