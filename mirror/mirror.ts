import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Registry as MetricsRegistry } from 'prom-client';
import { readSwarmKeys, type SwarmKey } from '../certs/swarm-key.ts';
import { MiroirError } from '../common/errors.ts';
import type { HostPort } from '../common/host-port.ts';
import { createHealthApp } from '../common/http/health-app.ts';
import { listen } from '../common/http/listen.ts';
import { type Component, closing, createAssembly } from '../common/lifecycle.ts';
import { type Logger, silentLogger } from '../common/log.ts';
import type { Digest } from '../common/oci/digest.ts';
import type { Registry } from '../common/oci/reference.ts';
import { letGoOfOwnCode } from '../common/own-code.ts';
import { type ContainerdClient, createContainerdClient } from '../containerd/api/client.ts';
import { createCriClient } from '../containerd/api/cri.ts';
import { type ConfiguredRegistry, configureRegistry } from '../containerd/configure.ts';
import { followEvents } from '../containerd/events.ts';
import { findUpstream } from '../containerd/find-upstream.ts';
import { judgeNode, stampOf } from '../containerd/verdict/judge-node.ts';
import { createAccess, type PrivateImages } from './access/access.ts';
import { askPeers } from './access/ask-peers.ts';
import { createAccessMetrics } from './access/metrics.ts';
import { createAdvertiser } from './advertiser.ts';
import { createIntroductions } from './introductions.ts';
import { createLoad } from './load.ts';
import { createMirrorMetrics } from './metrics.ts';
import { createNodeVerdict, createNodeVerdictMetrics, type NodeVerdict } from './node-verdict.ts';
import { createPeerClient } from './peers/client.ts';
import { createPeersMetrics } from './peers/metrics.ts';
import { createRecords } from './peers/records.ts';
import { createPeerServer } from './peers/server.ts';
import { createReceiving } from './receiving.ts';
import { createPodServer, createRegistryServer, type PodServerDeps } from './registry/server.ts';
import { createStatus } from './status.ts';
import { createContainerdStore } from './store/containerd-store.ts';
import { createInheritedTags } from './store/inherited-tags.ts';
import { createMembership, type MembershipList, resolveHost } from './swarm/membership.ts';
import type { Router } from './swarm/router.ts';
import { createBufferPool } from './transfer/buffer-pool.ts';
import { createKernelCopy } from './transfer/kernel-copy.ts';
import { createLocalContent, type LocalContent } from './transfer/local-content.ts';
import { createRegistryMetrics, createTransferMetrics } from './transfer/metrics.ts';
import { createPutOff } from './transfer/put-off.ts';
import { createReadNow } from './transfer/read-now.ts';
import { createTransfer, type Transfer } from './transfer/transfer.ts';
import { createUrlAsker } from './upstream/ask-url.ts';
import type { ProxyEnv } from './upstream/proxy-env.ts';
import { createRegistryClient } from './upstream/registry-client.ts';

export interface MirrorDeps {
  readonly log: Logger;
  /** From 0 to 1: what chance decides, from which peer to fetch and when to dial again. */
  readonly random: () => number;
}

export interface MirrorOptions {
  readonly version: string;
  readonly containerdSocket: string;
  readonly containerdNamespace: string;
  readonly certsDir: string;
  /** containerd's own configuration file; undefined: where its distribution keeps it. */
  readonly configPath: string | undefined;
  readonly registryAddress: HostPort;
  readonly peerAddress: HostPort;
  readonly swarmAddress: HostPort;
  readonly healthAddress: HostPort;
  /** What the pods of this node are served by; undefined: they are not. */
  readonly pods: PodServing | undefined;
  /** An IP address or host name of this node, without a port; undefined: where the others see it. */
  readonly advertiseAddress: string | undefined;
  readonly members:
    | { readonly kind: 'static'; readonly hosts: readonly string[] }
    | { readonly kind: 'dns'; readonly name: string }
    | { readonly kind: 'file'; readonly path: string };
  readonly swarmKeyFile: string;
  readonly peerEncryption: boolean;
  readonly uploadsPerBlob: number;
  readonly uploadsMax: number;
  /** Bytes per second. */
  readonly uploadRate: number | undefined;
  /** Empty for all. */
  readonly registries: readonly ConfiguredRegistry[];
  readonly privateImages: PrivateImages;
  /** How registries are asked; nobody else is. */
  readonly proxy: ProxyEnv;
  readonly router: 'one-hop' | 'kad';
  readonly zone: string | undefined;
}

export interface PodServing {
  readonly address: HostPort;
  readonly tokenKeysFile: string;
  readonly nodeName: string;
}

/** A few transfers at full speed, with room left for the rest of the mirror below 128 MB. */
const POOL_BYTES = 24 * 1024 * 1024;

/** Content is listed and told to the swarm by then, and containerd was judged. */
const START_SETTLED_MS = 10_000;

/** One node's mirror: builds the parts, starts them from the bottom up, and stops them from the top down. */
export function createMirror({ log, random }: MirrorDeps, options: MirrorOptions): Component {
  return createAssembly({ log }, async function* (signal) {
    const keys = await readSwarmKeys(options.swarmKeyFile);
    const client = createContainerdClient({
      socket: options.containerdSocket,
      namespace: options.containerdNamespace,
    });
    yield closing(() => client.close());
    yield* await buildParts({ log, random, client, keys }, options, signal);
    log.info('Mirror started', { registries: options.registries.map(({ name }) => name), router: options.router });
  });
}

interface PartsDeps extends MirrorDeps {
  readonly client: ContainerdClient;
  readonly keys: readonly SwarmKey[];
}

/** The mirror's parts in the order to start them. */
async function buildParts(
  { log, random, client, keys }: PartsDeps,
  options: MirrorOptions,
  signal: AbortSignal,
): Promise<readonly Component[]> {
  const now = Date.now;
  const metrics = new MetricsRegistry();
  const encryption = options.peerEncryption ? 'on' : 'off';
  const containerd = createContainerdStore({ client, log });
  await containerd.probe(signal);
  const { store, inherit } = createInheritedTags({ store: containerd, now });
  const local = createLocalContent({ store, now });
  const pool = createBufferPool({ bytesMax: POOL_BYTES });
  const readNow = createReadNow();
  const kernelCopy = createKernelCopy(readNow);
  const records = createRecords();
  if (kernelCopy === undefined || !records.cipher.isNative) {
    log.warn('This Node cannot call the C library or OpenSSL: sending content takes more of the processor', {
      node: process.version,
      fix: 'run the mirror with the Node of its image, or of package.json',
    });
  }
  const load = createLoad();
  const router = await createRouter({ log, random, keys, metrics }, options);
  const peerClient = createPeerClient({ pool, records, now }, { keys, encryption });
  const putOff = createPutOff();
  const transferMetrics = createTransferMetrics(metrics);
  const transfer: Transfer = createTransfer({
    store,
    local,
    router,
    client: peerClient,
    pool,
    kernelCopy,
    readNow,
    putOff,
    log,
    metrics: transferMetrics,
    now,
    random,
    inherit,
  });
  const urls = createUrlAsker(options.proxy);
  const listed = options.registries.map(({ name }) => name);
  const access = createAccess(
    {
      registries: createRegistryClient({ urls, findUpstream: (name) => findUpstream(options, name), now }),
      readManifest: (digest, asked) => readOwn(local, digest, asked),
      askPeers: (content, asked) => askPeers({ router, client: peerClient }, content, asked),
      log,
      metrics: createAccessMetrics(metrics),
      now,
    },
    { privateImages: options.privateImages, listed, hashKey: randomBytes(32) },
  );
  const peerServer = createPeerServer(
    {
      store,
      local,
      pool,
      kernelCopy,
      readNow,
      records,
      putOff,
      log,
      metrics: createPeersMetrics(metrics),
      now,
      readers: access.readers,
      isTooBusy: load.isTooHigh,
    },
    {
      address: options.peerAddress,
      keys,
      encryption,
      uploads: { perBlobMax: options.uploadsPerBlob, max: options.uploadsMax },
      uploadRate: options.uploadRate,
    },
  );
  const advertiser = createAdvertiser({
    store,
    router,
    log,
    metrics: createMirrorMetrics(metrics),
    arrived: transfer.arrived,
  });
  const introductions = createIntroductions(
    { configureRegistry, log },
    { certsDir: options.certsDir, registries: options.registries },
  );
  const registryDeps = { transfer, access, log, metrics: createRegistryMetrics(metrics), isTooBusy: load.isTooHigh };
  const registryServer = createRegistryServer(
    { ...registryDeps, introductions },
    { address: options.registryAddress, registries: listed },
  );
  const podServer = options.pods && (await createPods({ ...registryDeps, registry: metrics }, options.pods, listed));
  const verdict = createVerdict({ log, client, metrics }, options);
  const checks = [
    { name: 'containerd', missing: () => (containerd.isLive() ? undefined : 'its content is not listed yet') },
    { name: 'swarm', missing: () => (router.isReady() ? undefined : 'members are still being tried') },
    { name: 'content', missing: () => (advertiser.isReady() ? undefined : 'not yet told to the swarm') },
  ];
  const { version, zone } = options;
  const status = createStatus(
    { router, verdict, checks, metrics },
    { version, zone, router: options.router, startedAt: new Date(now()) },
  );
  const health = createHealthApp({
    metrics,
    checks,
    pages: { '/status': status, '/verdict': () => verdict.current() },
  });
  return [
    {
      start: async () => {
        await health.ready();
        await listen(health.server, options.healthAddress);
      },
      stop: () => health.close(),
    },
    closing(() => peerClient.close()),
    closing(() => urls.close()),
    load,
    peerServer,
    router,
    advertiser,
    createReceiving({ store, router, log, begun: transfer.begun, ended: transfer.ended }),
    registryServer,
    ...(podServer === undefined ? [] : [podServer]),
    verdict,
    afterTheStart(letGoOfOwnCode),
  ];
}

/** Once, when what the start has begun is done too. */
function afterTheStart(act: () => void): Component {
  let timer: NodeJS.Timeout | undefined;
  return {
    start: async () => {
      timer = setTimeout(act, START_SETTLED_MS).unref();
    },
    stop: async () => clearTimeout(timer),
  };
}

/** Brings a library for tokens: only where pods are served. */
async function createPods(
  { registry, ...deps }: PodServerDeps & { readonly registry: MetricsRegistry },
  { address, tokenKeysFile, nodeName }: PodServing,
  registries: readonly Registry[],
): Promise<Component> {
  const [{ createPodGuard, createPodGuardMetrics }, { createTokenKeys }] = await Promise.all([
    import('./registry/pod-guard.ts'),
    import('./registry/token-keys.ts'),
  ]);
  const readText = (path: string) => readFile(path, 'utf8');
  const keys = createTokenKeys({ readFile: readText, log: deps.log, now: Date.now }, tokenKeysFile);
  const guard = createPodGuard({ keys, ...createPodGuardMetrics(registry) }, nodeName);
  return createPodServer({ ...deps, guard }, { address, registries });
}

async function readOwn(local: LocalContent, digest: Digest, signal: AbortSignal): Promise<Uint8Array | undefined> {
  try {
    return (await local.manifest(digest, signal)).bytes;
  } catch (error) {
    if (error instanceof MiroirError) return undefined;
    throw error;
  }
}

/** What this node's containerd makes of a mirror, with a connection of its own: CRI is asked for nothing else here. */
function createVerdict(
  { log, client, metrics }: Pick<PartsDeps, 'log' | 'client'> & { readonly metrics: MetricsRegistry },
  { containerdSocket: socket, certsDir, configPath }: MirrorOptions,
): NodeVerdict {
  const cri = createCriClient({ socket });
  const options = { socket, certsDir, configFile: configPath, isProbed: true };
  const verdict = createNodeVerdict({
    judge: (signal) => judgeNode({ client, cri }, options, signal),
    stampOf,
    follow: (signal) => followEvents({ client, log: silentLogger }, signal), // The store tells when containerd goes away.
    log,
    metrics: createNodeVerdictMetrics(metrics),
    now: Date.now,
  });
  return {
    ...verdict,
    stop: async () => {
      await verdict.stop();
      cri.close();
    },
  };
}

async function createRouter(
  { log, random, keys, metrics }: Omit<PartsDeps, 'client'> & { readonly metrics: MetricsRegistry },
  { members, swarmAddress, advertiseAddress, peerAddress, router }: MirrorOptions,
): Promise<Router> {
  const membership = createMembership(
    { log, resolve: resolveHost },
    { list: membershipList(members), defaultPort: swarmAddress.port },
  );
  const deps = { log, registry: metrics, members: membership, now: Date.now, random };
  const options = { listen: swarmAddress, advertiseHost: advertiseAddress, peerPort: peerAddress.port, keys };
  // Each brings its own libraries: a mirror's memory holds the one that it uses.
  if (router === 'kad') {
    const { createKadRouter } = await import('./swarm/kad.ts');
    return createKadRouter(deps, options);
  }
  const { createOneHopRouter } = await import('./swarm/one-hop.ts');
  return createOneHopRouter(deps, options);
}

function membershipList(members: MirrorOptions['members']): MembershipList {
  switch (members.kind) {
    case 'static':
      return { type: 'static', members: members.hosts };
    case 'dns':
      return { type: 'dns', name: members.name };
    case 'file':
      return { type: 'file', path: members.path };
  }
}
