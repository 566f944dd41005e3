import type { Registry } from 'prom-client';
import type { SwarmKey } from '../../certs/swarm-key.ts';
import { MiroirError } from '../../common/errors.ts';
import type { HostPort } from '../../common/host-port.ts';
import type { Logger } from '../../common/log.ts';
import { parseDigest } from '../../common/oci/digest.ts';
import { gather } from './gather.ts';
import { createKeyGate } from './key-gate.ts';
import type { MembershipSource } from './membership.ts';
import { createMesh, type Mesh } from './mesh.ts';
import { registerSwarmMetrics } from './metrics.ts';
import { createNode } from './node.ts';
import { createOwnRecords } from './own-records.ts';
import { closestPlaces, type Place, placeOf } from './placement.ts';
import { createRecordIndex } from './record-index.ts';
import type { Key, LookupOptions, Provider, Router } from './router.ts';
import type { Session } from './session.ts';
import {
  FRAME_PROVIDERS_MAX,
  hashKey,
  type KeyHash,
  type ReplyFrame,
  type RequestFrame,
  type WireProvider,
} from './wire.ts';

export interface OneHopDeps {
  readonly log: Logger;
  readonly registry: Registry;
  readonly members: MembershipSource;
  /** Milliseconds of the wall clock, as in `TagRecord`. */
  readonly now: () => number;
  /** 0 to 1. */
  readonly random: () => number;
}

export interface OneHopOptions {
  readonly listen: HostPort;
  /** Where other members reach this node; undefined: at the address they see it at. */
  readonly advertiseHost: string | undefined;
  readonly peerPort: number;
  /** The first is in use, the others are accepted. */
  readonly keys: readonly SwarmKey[];
}

export interface SwarmRouter extends Router {
  /** The port it really listens on; 0 while it does not. */
  readonly swarmPort: number;
}

/** How many members keep a record: with a quarter of all hung, 98 keys of 100 still have one that answers. */
const KEEPERS_A_KEY = 3;
/** While members come and go, views differ and records are on their way: more are asked then. */
const KEEPERS_ASKED_IN_CHANGE = 6;
const CHANGE_MS = 5_000;
/** A member that is not hung answers within a millisecond in a rack; a first answer is nearly as good as all. */
const PATIENCE_MS = 20;
/** What a lookup may cost a pull when nobody answers at all. */
const LOOKUP_MS_MAX = 250;
/** How long to wait for members to confirm: a hung one is found out later, and its part placed again. */
const CONFIRM_MS_MAX = 2_000;

/**
 * The index in one hop: everyone knows all members, and a key's records are with the few whose place is closest to it.
 * A lookup asks those few at once, over streams that are always open.
 */
export function createOneHopRouter(deps: OneHopDeps, options: OneHopOptions): SwarmRouter {
  const { log, now, random } = deps;
  const index = createRecordIndex();
  let mesh: Mesh | undefined;
  let places: ReadonlyArray<Place & { readonly session: Session }> = [];
  let changedAt = -Infinity;

  const keepersOf = (key: KeyHash, count: number) => closestPlaces(places, key, count).map(({ session }) => session);
  const own = createOwnRecords({ now, keepersOf: (key) => keepersOf(key, KEEPERS_A_KEY) });
  const metrics = registerSwarmMetrics(deps.registry, {
    members: () => places.length,
    keysAdvertised: () => own.size,
    recordsKept: () => index.size,
  });

  const onChange = (): void => {
    const sessions = [...(mesh?.sessions.values() ?? [])];
    places = sessions
      .filter((session) => mesh?.isKeeper(session))
      .map((session) => ({ ...placeOf(session.peerId), session }));
    changedAt = performance.now();
    own.placeAgain();
  };

  const answer = (key: KeyHash, limit: number, asker: string): readonly WireProvider[] => {
    const at = performance.now();
    const kept = index.find(key, { limit, except: asker, random: random() }).flatMap(({ peerId, tag }) => {
      const address = mesh?.sessions.get(peerId)?.address;
      if (address === undefined) return [];
      const age = tag !== undefined && { tag: { digest: tag.digest, ageMs: at - tag.resolvedAt } };
      return [{ peer: { peerId, address }, ...age }];
    });
    const mine = own.find(key);
    return newestFirst(mine === undefined ? kept : [mine, ...kept]).slice(0, limit);
  };

  const onRequest = (session: Session, request: RequestFrame): ReplyFrame => {
    const { id } = request;
    switch (request.type) {
      case 'add': {
        const refused = index.add(session.peerId, request.entries, performance.now());
        if (refused > 0) metrics.refused(refused);
        return { type: 'ack', id };
      }
      case 'remove':
        index.remove(session.peerId, request.keys);
        return { type: 'ack', id };
      case 'get':
        return {
          type: 'found',
          id,
          providers: request.keys.map((key) => answer(key, request.limit, session.peerId)),
        };
    }
  };

  /** What the members closest to the key say, and what this node itself keeps. */
  async function* ask(key: KeyHash, limit: number, signal: AbortSignal) {
    const self = mesh?.selfId ?? '';
    const isChanging = performance.now() - changedAt < CHANGE_MS;
    const keepers = keepersOf(key, isChanging ? KEEPERS_ASKED_IN_CHANGE : KEEPERS_A_KEY);
    const questions = keepers.map((session) => ({
      answer: session.get(key, limit).then((providers) => providers?.map((found) => named(found, session))),
      patienceMs: PATIENCE_MS + 3 * session.roundTripMs,
    }));
    yield answer(key, limit, self).filter(({ peer }) => peer !== undefined) as NamedProvider[];
    yield* gather(questions, { deadlineMs: LOOKUP_MS_MAX }, signal);
  }

  async function* lookup(key: Key, { limit }: LookupOptions, signal: AbortSignal): AsyncGenerator<Provider> {
    const seen = new Set<string>([mesh?.selfId ?? '']);
    const toProvider = ({ peer, tag }: NamedProvider): Provider => ({
      ...peer,
      ...(tag !== undefined && { tag: { digest: tag.digest, resolvedAtMs: now() - tag.ageMs } }),
    });
    const isNew = ({ peer }: NamedProvider) => !seen.has(peer.peerId) && mesh?.isRemoved(peer.peerId) === false;
    const answers = ask(hashKey(key), Math.min(limit, FRAME_PROVIDERS_MAX), signal);
    for await (const found of isTag(key) ? merged(answers) : answers) {
      for (const provider of found) {
        if (seen.size > limit || signal.aborted) return;
        if (!isNew(provider)) continue;
        seen.add(provider.peer.peerId);
        yield toProvider(provider);
      }
    }
  }

  return {
    get swarmPort() {
      return mesh?.port ?? 0;
    },
    start: async () => {
      const gate = createKeyGate({ onRefused: () => metrics.dropped('key') }, { keys: options.keys });
      const node = await createNode(gate, { listen: options.listen, services: {} });
      const onGone = (peerId: string) => {
        index.removePeer(peerId);
        onChange();
      };
      const meshDeps = { log, metrics, node, members: deps.members, random, onSession: onChange, onGone, onRequest };
      mesh = createMesh(meshDeps, options);
      await mesh.start();
    },
    stop: async () => {
      const stopped = mesh?.stop();
      mesh = undefined;
      places = [];
      await stopped;
    },
    advertise: async (entries, signal) => confirm(own.add(entries), signal),
    withdraw: async (keys, signal) => confirm(own.remove(keys), signal),
    lookup: async function* (key, lookupOptions, signal) {
      const startedAt = performance.now();
      const observe = (result: 'found' | 'absent' | 'aborted') =>
        metrics.lookup(result, (performance.now() - startedAt) / 1000);
      let isFirst = true;
      for await (const provider of lookup(key, lookupOptions, signal)) {
        if (isFirst) observe('found');
        isFirst = false;
        yield provider;
      }
      if (isFirst) observe(signal.aborted ? 'aborted' : 'absent');
    },
    members: () => mesh?.members() ?? [],
    isReady: () => mesh?.isReady() ?? false,
  };
}

type NamedProvider = WireProvider & Required<Pick<WireProvider, 'peer'>>;

/** In an answer, who sent it stands without a name. */
function named(found: WireProvider, { peerId, address }: Session): NamedProvider {
  return { ...found, peer: found.peer ?? { peerId, address } };
}

function isTag(key: Key): boolean {
  return parseDigest(key) === undefined;
}

/** Members may know a tag by different times: all of them are heard before the newest is named. */
async function* merged(answers: AsyncIterable<readonly NamedProvider[]>): AsyncGenerator<readonly NamedProvider[]> {
  const all: NamedProvider[] = [];
  for await (const found of answers) all.push(...found);
  yield newestFirst(all);
}

function newestFirst<P extends WireProvider>(providers: readonly P[]): readonly P[] {
  return [...providers].sort((a, b) => (a.tag?.ageMs ?? 0) - (b.tag?.ageMs ?? 0));
}

async function confirm(confirmations: ReadonlyArray<Promise<boolean>>, signal: AbortSignal): Promise<void> {
  const { promise: waited, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, CONFIRM_MS_MAX);
  const stopWaiting = () => resolve();
  signal.addEventListener('abort', stopWaiting);
  if (!signal.aborted) await Promise.race([Promise.all(confirmations), waited]);
  clearTimeout(timer);
  signal.removeEventListener('abort', stopWaiting);
  if (signal.aborted) throw new MiroirError('ERR_ABORTED', 'aborted', { cause: signal.reason });
}
