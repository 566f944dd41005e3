import { networkInterfaces } from 'node:os';
import type { Connection, Libp2p, Stream } from '@libp2p/interface';
import type { HostPort } from '../../common/host-port.ts';
import type { Logger } from '../../common/log.ts';
import { createDialPlan, type Target } from './dial-plan.ts';
import { canonicalIp, type MembershipSource } from './membership.ts';
import type { DropReason, SwarmMetrics } from './metrics.ts';
import { listeningPort, startNode, toMultiaddr } from './node.ts';
import type { Member } from './router.ts';
import { openSession, type Session } from './session.ts';
import type { HelloFrame, ReplyFrame, RequestFrame } from './wire.ts';

/**
 * The members of the swarm that this node is connected to: those that the source of members names, which it dials until
 * they answer, and those that came by themselves, as the source of another node may be ahead of ours. One that the
 * source named and names no more is let go, and not let in again.
 */
export interface Mesh {
  readonly selfId: string;
  /** The port it listens on. */
  readonly port: number;
  start(): Promise<void>;
  stop(): Promise<void>;
  /** The session to use with each connected member. */
  readonly sessions: ReadonlyMap<string, Session>;
  /** Whether the member keeps a part of the index. */
  isKeeper(session: Session): boolean;
  /** Whether this node does. */
  isSelfKeeper(): boolean;
  /** Whether the source named this member once and does no more. */
  isRemoved(peerId: string): boolean;
  members(): readonly Member[];
  /** True once every member that the source named was tried. */
  isReady(): boolean;
}

interface MeshDeps {
  readonly log: Logger;
  readonly metrics: SwarmMetrics;
  readonly node: Libp2p;
  readonly members: MembershipSource;
  /** 0 to 1. */
  readonly random: () => number;
  /** A member is connected, or another session with it is the one to use from now on. */
  readonly onSession: (session: Session) => void;
  /** There may be other keepers from now on. */
  readonly onMembers: () => void;
  /** The last session with a member has ended. */
  readonly onGone: (peerId: string) => void;
  readonly onRequest: (session: Session, request: RequestFrame) => ReplyFrame | undefined;
}

interface MeshOptions {
  readonly listen: HostPort;
  readonly advertiseHost: string | undefined;
  readonly peerPort: number;
}

const PROTOCOL = '/miroir/swarm/1';
/** A member that is there answers within milliseconds; one that is not must not hold up readiness for long. */
const DIAL_MS_MAX = 3_000;
const TICK_MS = 500;
/** A tick that comes later than this says that this process was held up, and knows nothing about the others. */
const TICK_LATE_MS = 2_000;
/** A member that broke the rules is not talked to for this long. */
const BAN_MS = 60_000;
/** More than are removed or banned at a time in practice. The oldest are forgiven first. */
const OUTCASTS_MAX = 4_096;
/** Two come from dialing each other at once, two more from a member with two addresses. */
const SESSIONS_A_PEER_MAX = 4;

/** What was begun on a connection that turns out to be one too many has this long to end. */
const DUPLICATE_MS = 1_000;

export function createMesh(deps: MeshDeps, options: MeshOptions): Mesh {
  const { log, metrics, node, random } = deps;
  const now = () => performance.now();
  const selfId = node.peerId.toString();
  const plan = createDialPlan({ now, random });
  /** All that have not ended, those that have not introduced themselves included. */
  const all = new Set<Session>();
  const current = new Map<string, Session>();
  /** The addresses of members that were removed, with the peer ids last seen there. */
  const removed = new Map<string, string | undefined>();
  const bannedUntil = new Map<string, number>();
  const stopping = new AbortController();
  let ticker: NodeJS.Timeout | undefined;
  let isReady = false;

  const isRemoved = (peerId: string): boolean => [...removed.values()].includes(peerId);

  const isWelcome = ({ peerId, swarmAddress }: Session): boolean => {
    if (plan.targets.has(swarmAddress)) return true;
    for (const target of plan.targets.values()) if (target.peerId === peerId) return true;
    return !removed.has(swarmAddress) && !isRemoved(peerId);
  };

  const onOpen = (session: Session, dialed: Target | undefined): void => {
    const { peerId, swarmAddress } = session;
    const named = plan.targets.get(swarmAddress);
    if (named !== undefined) named.peerId = peerId;
    if (dialed !== undefined) dialed.peerId = peerId;
    if ((bannedUntil.get(peerId) ?? 0) > now()) {
      session.close();
    } else if (!isWelcome(session)) {
      session.drop('removed');
    } else {
      if (dialed !== undefined) plan.succeeded(dialed, peerId);
      const former = current.get(peerId);
      current.set(peerId, session);
      if (former === undefined) log.info('member joined', { peer: peerId, address: session.address });
      // Two that dial each other at once end up with two sessions. One of the two decides, so that one session stays.
      else if (selfId < peerId) setTimeout(() => former.close(), DUPLICATE_MS).unref();
      deps.onSession(session);
      pump();
    }
  };

  const onEnd = (session: Session, dialed: Target | undefined, reason: DropReason | undefined): void => {
    const { peerId } = session;
    all.delete(session);
    if (dialed?.isDialing === true) plan.failed(dialed);
    if (reason !== undefined) {
      metrics.dropped(reason);
      log.warn('member dropped', { peer: peerId, address: session.address, reason });
      if (reason === 'frame' || reason === 'flood') remember(bannedUntil, peerId, now() + BAN_MS);
    }
    if (current.get(peerId) !== session) return;
    const other = [...all].find((candidate) => candidate.peerId === peerId && candidate.address !== '');
    if (other === undefined) {
      current.delete(peerId);
      for (const target of plan.targets.values()) {
        if (target.peerId === peerId && !target.isDialing) plan.failed(target);
      }
      log.info('member left', { peer: peerId, address: session.address });
      deps.onGone(peerId);
    } else {
      current.set(peerId, other);
      deps.onSession(other);
    }
  };

  const open = (connection: Connection, stream: Stream, dialed?: Target): void => {
    const peerId = connection.remotePeer.toString();
    if ([...all].filter((session) => session.peerId === peerId).length >= SESSIONS_A_PEER_MAX) {
      connection.abort(new Error('too many sessions'));
      if (dialed !== undefined) plan.failed(dialed);
      return;
    }
    const hello: HelloFrame = {
      type: 'hello',
      peerPort: options.peerPort,
      swarmPort: listeningPort(node),
      ...(options.advertiseHost !== undefined && { host: options.advertiseHost }),
    };
    const session = openSession({
      connection,
      stream,
      hello,
      now,
      random,
      onOpen: (session) => onOpen(session, dialed),
      onRequest: deps.onRequest,
      onEnd: (session, reason) => onEnd(session, dialed, reason),
    });
    all.add(session);
  };

  const dial = async (target: Target): Promise<void> => {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(DIAL_MS_MAX)]);
    let connection: Connection | undefined;
    try {
      connection = await node.dial(toMultiaddr(target.hostPort), { signal, force: true });
      open(connection, await connection.newStream(PROTOCOL, { signal }), target);
    } catch (error) {
      connection?.abort(error as Error);
      if (stopping.signal.aborted) return;
      target.isSelf ||= (error as Error).name === 'InvalidPeerIdError';
      if (!target.isSelf) log.debug('member not reached', { address: target.address, error });
      plan.failed(target);
      pump();
    }
  };

  const pump = (): void => {
    if (stopping.signal.aborted) return;
    // Made only when one is not known by who it is: at rest this runs twice a second, and walks all members.
    let addresses: ReadonlySet<string> | undefined;
    const isConnected = ({ peerId, address }: Target): boolean => {
      if (peerId !== undefined && current.has(peerId)) return true;
      addresses ??= new Set([...current.values()].map(({ swarmAddress }) => swarmAddress));
      return addresses.has(address);
    };
    for (const target of plan.take(isConnected)) void dial(target);
    isReady ||= plan.isTried(isConnected);
  };

  const onMembers = (members: readonly HostPort[]): void => {
    for (const { address, peerId } of plan.update(members)) remember(removed, address, peerId);
    const port = listeningPort(node);
    const local = localAddresses();
    for (const target of plan.targets.values()) {
      removed.delete(target.address);
      target.isSelf ||= target.hostPort.port === port && local.has(target.hostPort.host);
    }
    // All of them: another session with the same member would take the place of the one that is dropped.
    for (const session of all) if (session.address !== '' && !isWelcome(session)) session.drop('removed');
    deps.onMembers();
    pump();
  };

  const follow = async (): Promise<void> => {
    try {
      for await (const members of deps.members.watch(stopping.signal)) onMembers(members);
    } catch (error) {
      if (!stopping.signal.aborted) log.error('source of members failed', { error });
    }
  };

  let lastTickAt = now();
  const tick = (): void => {
    const isLate = now() - lastTickAt > TICK_MS + TICK_LATE_MS;
    lastTickAt = now();
    for (const session of all) session.beat(isLate);
    pump();
  };

  return {
    selfId,
    get port() {
      return listeningPort(node);
    },
    sessions: current,
    start: async () => {
      await node.handle(PROTOCOL, (stream, connection) => open(connection, stream), { maxInboundStreams: 1 });
      node.addEventListener('peer:disconnect', ({ detail }) => void node.peerStore.delete(detail).catch(() => {}));
      await startNode(node, options.listen);
      lastTickAt = now();
      ticker = setInterval(tick, TICK_MS).unref();
      void follow();
    },
    stop: async () => {
      stopping.abort();
      clearInterval(ticker);
      for (const session of all) session.close();
      await node.stop();
    },
    isKeeper: ({ swarmAddress }) => plan.isKeeper(swarmAddress),
    isSelfKeeper: () => plan.isKeeper([...plan.targets.values()].find(({ isSelf }) => isSelf)?.address),
    isRemoved,
    members: () => [...current.values()].map(({ peerId, address }) => ({ peerId, address })),
    isReady: () => isReady,
  };
}

/** Every address of this machine: of the members that have one, the port tells which is this node. */
function localAddresses(): ReadonlySet<string> {
  const addresses = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  return new Set(addresses.map(({ address }) => canonicalIp(address)));
}

function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > OUTCASTS_MAX && oldest !== undefined) map.delete(oldest);
}
