import { yamux } from '@chainsafe/libp2p-yamux';
import type { ComponentLogger, Libp2p, Logger as Libp2pLogger, ServiceMap } from '@libp2p/interface';
import { tcp } from '@libp2p/tcp';
import { multiaddr } from '@multiformats/multiaddr';
import type { Datastore } from 'interface-datastore';
import { createLibp2p, type ServiceFactoryMap } from 'libp2p';
import { MiroirError } from '../../common/errors.ts';
import { formatHostPort, type HostPort } from '../../common/host-port.ts';
import type { KeyGate } from './key-gate.ts';

interface NodeOptions<S extends ServiceMap> {
  /** Port 0 takes a free one. */
  readonly listen: HostPort;
  readonly services: ServiceFactoryMap<S>;
  /** For services that keep something. libp2p's own copies and scans itself for every query. */
  readonly datastore?: Datastore;
}

/** More members than the largest cluster has; libp2p's own limit would prune members at 300. */
const CONNECTIONS_MAX = 12_000;
/** All members may dial a node that just started, at once. */
const PENDING_INBOUND_MAX = 512;
/** A second and an address. A member that restarts dials once; tests have all their members on one address. */
const INBOUND_A_HOST_MAX = 200;
/** A handshake takes some milliseconds of CPU, and many start at once when a cluster does. */
const HANDSHAKE_MS_MAX = 5_000;

/** A libp2p host, not started, whose every connection has passed the gate. */
export async function createNode<S extends ServiceMap>(gate: KeyGate, options: NodeOptions<S>): Promise<Libp2p<S>> {
  const { listen, services, datastore } = options;
  return createLibp2p<S>({
    start: false,
    addresses: { listen: listenAddresses(listen) },
    transports: [tcp()],
    connectionProtector: gate.protector,
    connectionEncrypters: [gate.encrypter],
    // Sessions beat by themselves, on the stream that matters.
    streamMuxers: [yamux({ enableKeepAlive: false })],
    connectionMonitor: { enabled: false },
    connectionManager: {
      maxConnections: CONNECTIONS_MAX,
      maxIncomingPendingConnections: PENDING_INBOUND_MAX,
      inboundConnectionThreshold: INBOUND_A_HOST_MAX,
      inboundUpgradeTimeout: HANDSHAKE_MS_MAX,
      // Redialing is ours: libp2p knows peer ids, and a member that restarts has a new one.
      reconnectRetries: 0,
    },
    // What is known of a member goes with its connection, not with time.
    peerStore: { maxAddressAge: Number.POSITIVE_INFINITY, maxPeerAge: Number.POSITIVE_INFINITY },
    ...(datastore !== undefined && { datastore }),
    logger: silentLibp2pLogger,
    services,
  });
}

/** Throws ERR_LISTEN_FAILED. */
export async function startNode(node: Libp2p, listen: HostPort): Promise<void> {
  try {
    await node.start();
  } catch (error) {
    await Promise.resolve(node.stop()).catch(() => {});
    const problem = String(error).includes('EADDRINUSE') ? 'another program has this port' : 'see the cause';
    const message = `cannot listen on ${formatHostPort(listen)} for the swarm: ${problem}`;
    throw new MiroirError('ERR_LISTEN_FAILED', message, { cause: error });
  }
}

/** The port the node really listens on. */
export function listeningPort(node: Libp2p): number {
  for (const address of node.getMultiaddrs()) {
    const port = address.getComponents().find(({ name }) => name === 'tcp')?.value;
    if (port !== undefined) return Number(port);
  }
  return 0;
}

/** `::` takes IPv4 as well, as it does for other servers; libp2p wants both named. */
function listenAddresses({ host, port }: HostPort): string[] {
  if (host === '::') return [`/ip6/::/tcp/${port}`, `/ip4/0.0.0.0/tcp/${port}`];
  return [toMultiaddr({ host, port }).toString()];
}

export function toMultiaddr({ host, port }: HostPort) {
  return multiaddr(`/${host.includes(':') ? 'ip6' : 'ip4'}/${host}/tcp/${port}`);
}

/** What goes wrong with a member is told by its session, in our words. */
const silentLine: Libp2pLogger = Object.assign(() => {}, {
  error: () => {},
  trace: () => {},
  enabled: false,
  newScope: () => silentLine,
});
const silentLibp2pLogger: ComponentLogger = { forComponent: () => silentLine };
