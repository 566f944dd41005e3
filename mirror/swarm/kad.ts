import type { Libp2p, PeerId } from '@libp2p/interface';
import type { KadDHT } from '@libp2p/kad-dht';
import { CID } from 'multiformats/cid';
import * as multihash from 'multiformats/hashes/digest';
import { createKeyGate } from './key-gate.ts';
import {
  confirmed,
  isTag,
  type Libp2pRouter,
  type Libp2pRouterDeps,
  type Libp2pRouterOptions,
  merged,
  type NamedProvider,
  named,
  observed,
  toProvider,
} from './libp2p-router.ts';
import { createMesh, type Mesh } from './mesh.ts';
import { registerSwarmMetrics } from './metrics.ts';
import { createNode } from './node.ts';
import { createOwnRecords } from './own-records.ts';
import { ProviderDatastore } from './provider-datastore.ts';
import type { Key, LookupOptions, Provider } from './router.ts';
import type { Session } from './session.ts';
import { hashKey, type KeyHash, type ReplyFrame, type RequestFrame } from './wire.ts';

const PROTOCOL = '/miroir/kad/1.0.0';
/** What a lookup may cost a pull when nothing is found. kad takes a few round trips, each on a stream of its own. */
const LOOKUP_MS_MAX = 1_000;
/** Once there is one provider, others must come soon: kad waits 5 s for a member that hangs. */
const MORE_MS_MAX = 100;
/** A record is placed in the background, whoever is waiting for it. */
const PROVIDE_MS_MAX = 10_000;
const PROVIDES_AT_A_TIME = 8;
/** Records are placed again before members that keep them for others give them up. */
const REPROVIDE = { interval: 5 * 60_000, threshold: 20 * 60_000, validity: 30 * 60_000 };

type Node = Libp2p<{ dht: KadDHT }>;

/** What the types of kad leave out: who it has in its routing table. */
interface RoutingTableEvents {
  addEventListener(type: 'peer:add' | 'peer:remove', listener: (event: CustomEvent<PeerId>) => void): void;
}

/**
 * The index by libp2p's Kademlia, for swarms that speak it. It costs a stream for each question, some hundred times what
 * the one-hop index does. It carries no values and cannot withdraw, so each provider that it names is asked by session
 * whether it has the key, and what it knows the tag by.
 */
export function createKadRouter(deps: Libp2pRouterDeps, options: Libp2pRouterOptions): Libp2pRouter {
  const { log, now, random } = deps;
  const stopping = new AbortController();
  const datastore = new ProviderDatastore();
  /** The members that kad asks. */
  const known = new Set<string>();
  /** kad places the records; here is what stands in them. */
  const own = createOwnRecords({ now, keepersOf: () => [] });
  const ownKeys = new Set<Key>();
  let mesh: Mesh | undefined;
  let node: Node | undefined;

  const metrics = registerSwarmMetrics(deps.registry, {
    members: () => mesh?.members().length ?? 0,
    keysAdvertised: () => own.size,
    recordsKept: () => datastore.providerRecords,
  });

  const onRequest = (_session: Session, request: RequestFrame): ReplyFrame | undefined => {
    if (request.type !== 'get') return undefined;
    return { type: 'found', id: request.id, providers: request.keys.map((key) => [own.find(key) ?? []].flat()) };
  };

  const provide = async (keys: Iterable<Key>): Promise<void> => {
    const left = keys[Symbol.iterator]();
    const work = async () => {
      for (let next = left.next(); next.done !== true; next = left.next()) await provideOne(next.value);
    };
    await Promise.all(Array.from({ length: PROVIDES_AT_A_TIME }, work));
  };

  const provideOne = async (key: Key): Promise<void> => {
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(PROVIDE_MS_MAX)]);
    try {
      await Array.fromAsync(node?.services.dht.provide(toCid(hashKey(key)), { signal }) ?? []);
    } catch (error) {
      if (!stopping.signal.aborted) log.debug('record not placed everywhere', { error });
    }
  };

  /** Providers that confirmed, as they do. */
  const ask = (key: KeyHash, signal: AbortSignal): ReadableStream<readonly NamedProvider[]> => {
    const enough = new AbortController();
    const until = AbortSignal.any([signal, stopping.signal, enough.signal, AbortSignal.timeout(LOOKUP_MS_MAX)]);
    const confirm = async (session: Session, found: (providers: readonly NamedProvider[]) => void) => {
      const providers = await session.get(key, 1);
      if (until.aborted || providers === undefined || providers.length === 0) return;
      found(providers.map((provider) => named(provider, session)));
      setTimeout(() => enough.abort(), MORE_MS_MAX).unref();
    };
    const search = async (found: (providers: readonly NamedProvider[]) => void) => {
      const confirmations: Promise<void>[] = [];
      for await (const event of node?.services.dht.findProviders(toCid(key), { signal: until }) ?? []) {
        if (event.name !== 'PROVIDER') continue;
        const sessions = event.providers.flatMap(({ id }) => mesh?.sessions.get(id.toString()) ?? []);
        confirmations.push(...sessions.map((session) => confirm(session, found)));
      }
      await Promise.all(confirmations);
    };
    return new ReadableStream({
      start: (controller) => {
        const close = () => {
          until.removeEventListener('abort', close);
          if (!enough.signal.aborted) enough.abort();
          try {
            controller.close();
          } catch {
            // It is closed, or its reader has left.
          }
        };
        if (until.aborted) return close();
        until.addEventListener('abort', close);
        // What ends a query early, the deadline above all, ends the answers; it is no error.
        void search((providers) => controller.enqueue(providers)).then(close, close);
      },
      cancel: () => enough.abort(),
    });
  };

  async function* lookup(key: Key, { limit }: LookupOptions, signal: AbortSignal): AsyncGenerator<Provider> {
    const seen = new Set<string>();
    const answers = ask(hashKey(key), signal);
    for await (const found of isTag(key) ? merged(answers) : answers) {
      for (const provider of found) {
        if (seen.size >= limit || signal.aborted) return;
        if (seen.has(provider.peer.peerId)) continue;
        seen.add(provider.peer.peerId);
        yield toProvider(provider, now());
      }
    }
  }

  const createKadNode = async (): Promise<Node> => {
    // Loaded here, because a mirror with the other router has no use for it.
    const [{ kadDHT, passthroughMapper }, { identify }, { ping }] = await Promise.all([
      import('@libp2p/kad-dht'),
      import('@libp2p/identify'),
      import('@libp2p/ping'),
    ]);
    const gate = createKeyGate({ onRefused: () => metrics.dropped('key') }, { keys: options.keys });
    const services = {
      identify: identify(),
      ping: ping(),
      dht: kadDHT({
        protocol: PROTOCOL,
        clientMode: false,
        // Members live in private networks.
        peerInfoMapper: passthroughMapper,
        // A node may be alone.
        allowQueryWithZeroPeers: true,
        reprovide: REPROVIDE,
      }),
    };
    return createNode(gate, { listen: options.listen, services, datastore });
  };

  const watchRoutingTable = ({ services }: Node): void => {
    const { routingTable } = services.dht as unknown as { readonly routingTable: RoutingTableEvents };
    routingTable.addEventListener('peer:add', ({ detail }) => known.add(detail.toString()));
    routingTable.addEventListener('peer:remove', ({ detail }) => known.delete(detail.toString()));
  };

  return {
    get swarmPort() {
      return mesh?.port ?? 0;
    },
    start: async () => {
      node = await createKadNode();
      watchRoutingTable(node);
      const onGone = (peerId: string) => datastore.removePeer(peerId);
      const nothing = { onSession: () => {}, onMembers: () => {} };
      const meshDeps = { log, metrics, node, members: deps.members, random, ...nothing, onGone, onRequest };
      mesh = createMesh(meshDeps, options);
      await mesh.start();
      // libp2p does so a second later, and who does not know its own addresses does not name itself as a provider.
      await node.peerStore.patch(node.peerId, { multiaddrs: node.getMultiaddrs() });
      void provide([...ownKeys]);
    },
    stop: async () => {
      stopping.abort();
      const stopped = mesh?.stop();
      mesh = undefined;
      node = undefined;
      await stopped;
    },
    advertise: async (entries, signal) => {
      void own.add(entries);
      for (const { key } of entries) ownKeys.add(key);
      await confirmed([provide(entries.map(({ key }) => key))], signal);
    },
    withdraw: async (keys, signal) => {
      void own.remove(keys);
      for (const key of keys) ownKeys.delete(key);
      const cancel = async (key: Key) => node?.services.dht.cancelReprovide(toCid(hashKey(key)));
      await confirmed(keys.map(cancel), signal);
    },
    lookup: (key, lookupOptions, signal) => observed(lookup(key, lookupOptions, signal), metrics, signal),
    // This protocol knows who has all of something, and nothing else.
    claim: async () => ({ role: 'lead' }),
    mayClaimFirst: () => false,
    receiving: () => {},
    gaveUp: () => {},
    members: () => (mesh?.members() ?? []).filter(({ peerId }) => known.has(peerId)),
    isReady: () => mesh?.isReady() ?? false,
  };
}

function toCid(key: KeyHash): CID {
  const SHA2_256 = 0x12;
  const RAW = 0x55;
  return CID.createV1(RAW, multihash.create(SHA2_256, Buffer.from(key, 'latin1')));
}
