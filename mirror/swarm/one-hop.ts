import { createClaimDesk } from './claim-desk.ts';
import { gather } from './gather.ts';
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
  newestFirst,
  observed,
  toProvider,
} from './libp2p-router.ts';
import { createMesh, type Mesh } from './mesh.ts';
import { registerSwarmMetrics } from './metrics.ts';
import { createNode } from './node.ts';
import { createOwnRecords } from './own-records.ts';
import { closestPlaces, type Place, placeOf } from './placement.ts';
import { createRecordIndex } from './record-index.ts';
import type { Key, LookupOptions, Provider } from './router.ts';
import type { Session, WireClaim } from './session.ts';
import {
  FRAME_PROVIDERS_MAX,
  hashKey,
  type KeyHash,
  type ReplyFrame,
  type RequestFrame,
  type WireProvider,
} from './wire.ts';

/** How many members keep a record: with a quarter of all hung, 98 keys of 100 still have one that answers. */
const KEEPERS_A_KEY = 3;
/** While members come and go, views differ and records are on their way: more are asked then. */
const KEEPERS_ASKED_IN_CHANGE = 6;
const CHANGE_MS = 5_000;
/** A member that is not hung answers within a millisecond in a rack; a first answer is nearly as good as all. */
const PATIENCE_MS = 20;
/** Who cannot get it from one of these asks again. */
const HOLDERS_NAMED_MAX = 16;
/** What a lookup may cost a pull when nobody answers at all. */
const LOOKUP_MS_MAX = 250;

/**
 * The index in one hop: everyone knows all members, and a key's records are with the few whose place is closest to it.
 * A lookup asks those few at once, over streams that are always open.
 */
export function createOneHopRouter(deps: Libp2pRouterDeps, options: Libp2pRouterOptions): Libp2pRouter {
  const { log, now, random } = deps;
  const index = createRecordIndex();
  let mesh: Mesh | undefined;
  let places: ReadonlyArray<Place & { readonly session: Session }> = [];
  let changedAt = -Infinity;
  let ownPlace = placeOf('');

  const keepersOf = (key: KeyHash, count: number) => closestPlaces(places, key, count).map(({ session }) => session);
  const own = createOwnRecords({ now, keepersOf: (key) => keepersOf(key, KEEPERS_A_KEY) });
  const metrics = registerSwarmMetrics(deps.registry, {
    members: () => mesh?.members().length ?? 0,
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

  const isChanging = () => performance.now() - changedAt < CHANGE_MS;
  const patienceFor = ({ roundTripMs }: Session) => PATIENCE_MS + 3 * roundTripMs;

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

  const desk = createClaimDesk({
    selfId: () => mesh?.selfId ?? '',
    isSelfKeeper: () => mesh?.isSelfKeeper() ?? true,
    ownPlace: () => ownPlace,
    places: () => places,
    addressOf: (peerId) => mesh?.sessions.get(peerId)?.address,
    holders: (key, asker) =>
      answer(key, HOLDERS_NAMED_MAX, asker).filter(({ peer }) => peer !== undefined || asker !== mesh?.selfId),
    patienceMs: patienceFor,
    now: () => performance.now(),
  });

  const onRequest = (session: Session, request: RequestFrame): ReplyFrame => {
    const { id } = request;
    switch (request.type) {
      case 'claim':
        return { type: 'claimed', id, ...desk.answer(request.key, session.peerId, request) };
      case 'receive':
        desk.received(session.peerId, request.entries);
        return { type: 'ack', id };
      case 'release':
        desk.release(session.peerId, request.keys);
        return { type: 'ack', id };
      case 'add': {
        desk.release(
          session.peerId,
          request.entries.map(({ key }) => key),
        );
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
    const keepers = keepersOf(key, isChanging() ? KEEPERS_ASKED_IN_CHANGE : KEEPERS_A_KEY);
    const questions = keepers.map((session) => ({
      answer: session.get(key, limit).then((providers) => providers?.map((found) => named(found, session))),
      patienceMs: patienceFor(session),
    }));
    yield answer(key, limit, self).filter(({ peer }) => peer !== undefined) as NamedProvider[];
    yield* gather(questions, { deadlineMs: LOOKUP_MS_MAX }, signal);
  }

  async function* lookup(key: Key, { limit }: LookupOptions, signal: AbortSignal): AsyncGenerator<Provider> {
    const seen = new Set<string>([mesh?.selfId ?? '']);
    const isNew = ({ peer }: NamedProvider) => !seen.has(peer.peerId) && mesh?.isRemoved(peer.peerId) === false;
    const answers = ask(hashKey(key), Math.min(limit, FRAME_PROVIDERS_MAX), signal);
    for await (const found of isTag(key) ? merged(answers) : answers) {
      for (const provider of found) {
        if (seen.size > limit || signal.aborted) return;
        if (!isNew(provider)) continue;
        seen.add(provider.peer.peerId);
        yield toProvider(provider, now());
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
        desk.removePeer(peerId);
        onChange();
      };
      const changed = { onSession: onChange, onMembers: onChange, onGone };
      const meshDeps = { log, metrics, node, members: deps.members, random, ...changed, onRequest };
      mesh = createMesh(meshDeps, options);
      ownPlace = placeOf(mesh.selfId);
      await mesh.start();
    },
    stop: async () => {
      const stopped = mesh?.stop();
      mesh = undefined;
      places = [];
      await stopped;
    },
    claim: async (key, want, signal) => {
      const isFirst = want.isFirst === true;
      const startedAt = performance.now();
      const answered = await desk.ask(key, want);
      if (answered === undefined || signal.aborted) return isFirst ? { role: 'unknown' } : { role: 'lead' };
      const { claim, from } = answered;
      if (isFirst) metrics.lookup(claim.role === 'held' ? 'found' : 'absent', (performance.now() - startedAt) / 1000);
      if (claim.role === 'lead') return { role: 'lead' };
      const isOfHolders = isFirst && claim.role === 'held';
      const providers = claimedProviders(claim, from, isOfHolders ? {} : { isReceiving: true });
      return { role: claim.role, providers: providers.filter(({ peerId }) => mesh?.isRemoved(peerId) === false) };
    },
    mayClaimFirst: () => !isChanging(),
    receiving: (receipts) => desk.receiving(receipts.map(({ key, ...rest }) => ({ key: hashKey(key), ...rest }))),
    gaveUp: (keys) => desk.gaveUp(keys.map(hashKey)),
    advertise: async (entries, signal) => {
      // The other members who may keep a claim on it are told by the record itself.
      desk.release(
        mesh?.selfId ?? '',
        entries.map(({ key }) => hashKey(key)),
      );
      await confirmed(own.add(entries), signal);
    },
    withdraw: async (keys, signal) => confirmed(own.remove(keys), signal),
    lookup: (key, lookupOptions, signal) => observed(lookup(key, lookupOptions, signal), metrics, signal),
    members: () => mesh?.members() ?? [],
    isReady: () => mesh?.isReady() ?? false,
  };
}

/** Those who were named; the desk itself, if it is a member, is named by nothing. */
function claimedProviders(
  { providers }: WireClaim,
  desk: Session | undefined,
  state: Pick<Provider, 'isReceiving'>,
): Provider[] {
  return providers.flatMap(({ peer }) => {
    const { peerId, address } = peer ?? desk ?? {};
    return peerId === undefined || address === undefined ? [] : [{ peerId, address, ...state }];
  });
}
