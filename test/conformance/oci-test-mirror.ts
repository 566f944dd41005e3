import net from 'node:net';
import type { TestContext } from 'node:test';
import { Registry as MetricsRegistry } from 'prom-client';
import { parseSwarmKeys, type SwarmKey } from '../../certs/swarm-key.ts';
import { formatHostPort, type HostPort } from '../../common/host-port.ts';
import { type Logger, silentLogger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry } from '../../common/oci/reference.ts';
import { type Access, OPEN_ACCESS } from '../../mirror/access/access.ts';
import { createPeerClient, type PeerClientLimits } from '../../mirror/peers/client.ts';
import { createPeersMetrics } from '../../mirror/peers/metrics.ts';
import { createRecords } from '../../mirror/peers/records.ts';
import { createPeerServer } from '../../mirror/peers/server.ts';
import type { Guard } from '../../mirror/registry/request-guard.ts';
import { createPodServer, createRegistryServer, type Introductions } from '../../mirror/registry/server.ts';
import { createMemoryStore, type MemoryStore } from '../../mirror/store/memory-store.ts';
import { createMemoryRouter, type MemoryHub } from '../../mirror/swarm/memory.ts';
import { digestKey, type Router, tagKey } from '../../mirror/swarm/router.ts';
import { createBufferPool } from '../../mirror/transfer/buffer-pool.ts';
import { createKernelCopy } from '../../mirror/transfer/kernel-copy.ts';
import { createLocalContent } from '../../mirror/transfer/local-content.ts';
import { createRegistryMetrics, createTransferMetrics } from '../../mirror/transfer/metrics.ts';
import { createPutOff, type PutOff } from '../../mirror/transfer/put-off.ts';
import { createReadNow } from '../../mirror/transfer/read-now.ts';
import { createTransfer } from '../../mirror/transfer/transfer.ts';

/** A mirror with a store in memory and a swarm in this process; its two servers and everything between are the real ones. */
export interface TestMirror {
  readonly store: MemoryStore;
  readonly router: Router;
  readonly metrics: MetricsRegistry;
  readonly url: string;
  /** Where pods ask, with a `guard`. */
  readonly podAddress: HostPort | undefined;
  readonly peerAddress: string;
  /** Advertises all that the store holds now. */
  advertise(): Promise<void>;
  /** Tells the mirror that content has come into its store. */
  readonly arrived: (digest: Digest) => void;
  readonly putOff: PutOff;
  stop(): Promise<void>;
}

export interface TestMirrorOptions {
  readonly name: string;
  readonly hub: MemoryHub;
  readonly encryption?: 'on' | 'off';
  readonly registries?: readonly Registry[];
  readonly introductions?: Introductions;
  /** Of pods, which are not served without one. */
  readonly guard?: Guard;
  readonly access?: Access;
  readonly clientLimits?: Partial<PeerClientLimits>;
  readonly firstByteTimeoutMs?: number;
  readonly log?: Logger;
  readonly now?: () => number;
  readonly isTooBusy?: () => boolean;
  readonly uploadRate?: number;
  readonly uploadStallMs?: number;
  /** What it accepts; it connects with the first. */
  readonly keys?: readonly SwarmKey[];
}

export const TEST_KEYS = parseSwarmKeys('7f'.repeat(32));
const POOL_BYTES = 24 * 1024 * 1024;
const ANY_PORT = { host: '127.0.0.1', port: 0 };

export async function startTestMirror(t: TestContext, options: TestMirrorOptions): Promise<TestMirror> {
  const encryption = options.encryption ?? 'on';
  const metrics = new MetricsRegistry();
  const store = createMemoryStore();
  const pool = createBufferPool({ bytesMax: POOL_BYTES });
  const putOff = createPutOff();
  const keys = options.keys ?? TEST_KEYS;
  const now = options.now ?? Date.now;
  const log = options.log ?? silentLogger;
  const local = createLocalContent({ store, now });
  const isTooBusy = options.isTooBusy ?? (() => false);
  const readNow = createReadNow();
  const kernelCopy = createKernelCopy(readNow);
  const records = createRecords();
  const client = createPeerClient(
    { pool, records, now },
    { keys, encryption, ...(options.clientLimits && { limits: options.clientLimits }) },
  );
  const access = options.access ?? OPEN_ACCESS;
  const peers = createPeerServer(
    {
      store,
      local,
      pool,
      putOff,
      kernelCopy,
      readNow,
      records,
      log,
      metrics: createPeersMetrics(metrics),
      now,
      readers: access.readers,
      isTooBusy,
    },
    {
      address: ANY_PORT,
      keys,
      encryption,
      uploads: { perBlobMax: 4, max: 64 },
      uploadRate: options.uploadRate,
      ...(options.uploadStallMs !== undefined && { uploadStallMs: options.uploadStallMs }),
    },
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
      kernelCopy,
      readNow,
      putOff,
      log,
      metrics: createTransferMetrics(metrics),
      now,
      random: inOrder(),
      inherit: () => {},
    },
    options.firstByteTimeoutMs === undefined ? {} : { firstByteTimeoutMs: options.firstByteTimeoutMs },
  );
  const introductions = options.introductions ?? { isFirstSeen: async () => false };
  const registryDeps = {
    transfer,
    access,
    log,
    metrics: createRegistryMetrics(metrics),
    isTooBusy,
  };
  const registryOptions = { address: ANY_PORT, registries: options.registries ?? [] };
  const registry = createRegistryServer({ ...registryDeps, introductions }, registryOptions);
  await registry.start(signal);
  const pods = options.guard && createPodServer({ ...registryDeps, guard: options.guard }, registryOptions);
  await pods?.start(signal);
  const stop = async () => {
    await router.stop();
    await Promise.all([registry.stop(), pods?.stop(), peers.stop()]);
    client.close();
    store.abortAll();
  };
  t.after(stop);
  return {
    store,
    router,
    metrics,
    url: `http://${formatHostPort(registry.address())}`,
    podAddress: pods?.address(),
    peerAddress,
    arrived: transfer.arrived,
    putOff,
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

/** Instead of chance: equal peers are asked in the order in which they joined. */
function inOrder(): () => number {
  let last = 0;
  return () => {
    last += 1e-6;
    return last;
  };
}

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Whether a FIN came before all that Content-Length promised. */
  readonly isShort: boolean;
}

export interface AskOptions {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Told how much of the body has come. */
  readonly progress?: (byteCount: number) => void;
}

/**
 * A request on a connection of its own, by a client that tells a FIN from a reset: it rejects at a reset, as containerd's
 * pull then fails.
 */
export function ask(url: string, { method = 'GET', headers = {}, progress }: AskOptions = {}): Promise<Answer> {
  const { hostname, port, host } = new URL(url);
  const target = url.slice(`http://${host}`.length); // As it was written: URL would tidy it up.
  return new Promise((resolve, reject) => {
    const socket = net.connect(Number(port), hostname);
    const parts: Buffer[] = [];
    let head: Omit<Answer, 'body' | 'isShort'> | undefined;
    let received = 0;
    let promised = 0;
    const done = (isShort: boolean) => {
      socket.destroy();
      if (head === undefined) reject(new Error('the connection ended before an answer'));
      else resolve({ ...head, body: Buffer.concat(parts), isShort });
    };
    const takeHead = (bytes: Buffer): Buffer => {
      const all = Buffer.concat([...parts.splice(0), bytes]);
      const end = all.indexOf('\r\n\r\n');
      if (end < 0) {
        parts.push(all);
        return Buffer.alloc(0);
      }
      const [statusLine = '', ...lines] = all.toString('latin1', 0, end).split('\r\n');
      const fields = lines.map((line) => [
        line.slice(0, line.indexOf(':')).toLowerCase(),
        line.replace(/^[^:]*: */, ''),
      ]);
      head = { status: Number(statusLine.split(' ')[1]), headers: Object.fromEntries(fields) };
      promised = method === 'HEAD' ? 0 : Number(head.headers['content-length']);
      return all.subarray(end + 4);
    };
    socket.on('data', (bytes: Buffer) => {
      const body = head === undefined ? takeHead(bytes) : bytes;
      if (head === undefined) return;
      parts.push(body);
      received += body.length;
      progress?.(received);
      if (received >= promised) done(false);
    });
    socket.once('end', () => done(true));
    socket.once('error', reject);
    const fields = Object.entries({ Host: host, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(`${method} ${target} HTTP/1.1\r\n${fields.join('')}\r\n`);
  });
}
