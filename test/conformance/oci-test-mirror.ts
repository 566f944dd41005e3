import http from 'node:http';
import type { TestContext } from 'node:test';
import { Registry as MetricsRegistry } from 'prom-client';
import { parseSwarmKeys } from '../../certs/swarm-key.ts';
import { formatHostPort } from '../../common/host-port.ts';
import { silentLogger } from '../../common/log.ts';
import type { Registry } from '../../common/oci/reference.ts';
import { createPeerClient, type PeerClientLimits } from '../../mirror/peers/client.ts';
import { createPeersMetrics } from '../../mirror/peers/metrics.ts';
import { createPeerServer } from '../../mirror/peers/server.ts';
import { createRegistryServer, type Introductions } from '../../mirror/registry/server.ts';
import { createMemoryStore, type MemoryStore } from '../../mirror/store/memory-store.ts';
import { createMemoryRouter, type MemoryHub } from '../../mirror/swarm/memory.ts';
import { digestKey, type Router, tagKey } from '../../mirror/swarm/router.ts';
import { createBufferPool } from '../../mirror/transfer/buffer-pool.ts';
import { createLocalContent } from '../../mirror/transfer/local-content.ts';
import { createRegistryMetrics, createTransferMetrics } from '../../mirror/transfer/metrics.ts';
import { createTransfer } from '../../mirror/transfer/transfer.ts';

/** A mirror with a store in memory and a swarm in this process; its two servers and everything between are the real ones. */
export interface TestMirror {
  readonly store: MemoryStore;
  readonly router: Router;
  readonly metrics: MetricsRegistry;
  readonly url: string;
  readonly peerAddress: string;
  /** Advertises all that the store holds now. */
  advertise(): Promise<void>;
  stop(): Promise<void>;
}

export interface TestMirrorOptions {
  readonly name: string;
  readonly hub: MemoryHub;
  readonly encryption?: 'on' | 'off';
  readonly registries?: readonly Registry[];
  readonly introductions?: Introductions;
  readonly clientLimits?: Partial<PeerClientLimits>;
  readonly firstByteTimeoutMs?: number;
}

const KEYS = parseSwarmKeys('7f'.repeat(32));
const POOL_BYTES = 24 * 1024 * 1024;
const ANY_PORT = { host: '127.0.0.1', port: 0 };

export async function startTestMirror(t: TestContext, options: TestMirrorOptions): Promise<TestMirror> {
  const encryption = options.encryption ?? 'on';
  const metrics = new MetricsRegistry();
  const store = createMemoryStore();
  const pool = createBufferPool({ bytesMax: POOL_BYTES });
  const now = Date.now;
  const log = silentLogger;
  const local = createLocalContent({ store, now });
  const client = createPeerClient(
    { pool, now },
    { keys: KEYS, encryption, ...(options.clientLimits && { limits: options.clientLimits }) },
  );
  const peers = createPeerServer(
    { store, local, pool, log, metrics: createPeersMetrics(metrics), now },
    { address: ANY_PORT, keys: KEYS, encryption },
  );
  const signal = AbortSignal.timeout(60_000);
  await peers.start(signal);
  const peerAddress = formatHostPort(peers.address());
  const router = createMemoryRouter({ hub: options.hub }, { peerId: options.name, address: peerAddress });
  await router.start(signal);
  const transfer = createTransfer(
    {
      store,
      local,
      router,
      client,
      pool,
      log,
      metrics: createTransferMetrics(metrics),
      now,
      random: Math.random,
      inherit: () => {},
    },
    options.firstByteTimeoutMs === undefined ? {} : { firstByteTimeoutMs: options.firstByteTimeoutMs },
  );
  const introductions = options.introductions ?? { isFirstSeen: async () => false };
  const registry = createRegistryServer(
    { transfer, log, metrics: createRegistryMetrics(metrics), introductions },
    { address: ANY_PORT, registries: options.registries ?? [] },
  );
  await registry.start(signal);
  const stop = async () => {
    await router.stop();
    await Promise.all([registry.stop(), peers.stop()]);
    client.close();
  };
  t.after(stop);
  return {
    store,
    router,
    metrics,
    url: `http://${formatHostPort(registry.address())}`,
    peerAddress,
    advertise: async () => {
      const watching = new AbortController();
      for await (const event of store.watch(watching.signal)) {
        if (event.type === 'listed') watching.abort();
        else if (event.type === 'content-created') await router.advertise([{ key: digestKey(event.digest) }], signal);
        else if (event.type === 'tag-created') {
          await router.advertise([{ key: tagKey(event.tag), tag: event.record }], signal);
        }
      }
    },
    stop,
  };
}

export interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
  /** Whether the connection ended before all that Content-Length promised. */
  readonly isShort: boolean;
}

/** A request on a connection of its own. Rejects when the connection is reset. */
export function ask(url: string, options: http.RequestOptions = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = http.request(url, { agent: false, ...options }, (response) => {
      const parts: Buffer[] = [];
      response.on('data', (part: Buffer) => parts.push(part));
      const done = (isShort: boolean) => {
        const { statusCode, headers } = response;
        resolve({ status: statusCode as number, headers, body: Buffer.concat(parts), isShort });
      };
      response.once('end', () => done(false));
      response.once('error', (error) => {
        // Node reports a FIN before the end of the body in the same words as a reset, but for the code's source.
        if (error.message === 'aborted') done(true);
        else reject(error);
      });
    });
    request.once('error', reject);
    request.end();
  });
}
