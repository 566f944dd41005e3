import { MiroirError } from '../../common/errors.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { TagReference } from '../../common/oci/reference.ts';
import type { Store, TagRecord } from '../store/store.ts';
import { digestKey, type Key, type Provider, type Router, tagKey } from '../swarm/router.ts';
import type { PeerClient } from './peer-client.ts';
import type { PeerMemory } from './peer-memory.ts';
import { orderPeers } from './pick-peer.ts';

export interface ResolverDeps {
  readonly store: Store;
  readonly router: Router;
  readonly client: PeerClient;
  readonly peers: PeerMemory;
  readonly now: () => number;
  /** From 0 to 1, as Math.random. */
  readonly random: () => number;
}

/** Who can serve what. */
export interface Resolver {
  /** Providers in the order to ask them, in batches as they are found; those that would likely fail are left out. */
  providers(digest: Digest, signal: AbortSignal): AsyncIterable<readonly Provider[]>;
  /** Those who were named, in the order to ask them. */
  ordered(providers: readonly Provider[]): readonly Provider[];
  /** What a tag stands for, by those who know: the one resolved at its registry last comes first, no digest twice. */
  tagCandidates(tag: TagReference, signal: AbortSignal): Promise<readonly TagCandidate[]>;
}

export interface TagCandidate extends TagRecord {
  /** Who said so; empty when only this node does. */
  readonly providers: readonly Provider[];
}

/** A relay tries a few; more would only be asked when those all fail. */
const PROVIDERS_MAX = 16;

/** One-hop lookups take milliseconds; what takes longer than this is no faster than upstream. */
const LOOKUP_TIMEOUT_MS = 500;

/** Answers that come together are ordered together: the first one found must not be everybody's first choice. */
const BATCH_WAIT_MS = 2;

/** As the swarm may know a tag by several digests, the newest among so many is good enough. */
const TAG_PROVIDERS_MAX = 8;

/** Of routers that carry no values. */
const TAG_PEERS_ASKED_MAX = 4;

const TAG_ASK_TIMEOUT_MS = 700;

export function createResolver(deps: ResolverDeps): Resolver {
  const { router, peers, random } = deps;
  const lookup = (key: Key, limit: number, signal: AbortSignal) =>
    router.lookup(key, { limit }, AbortSignal.any([signal, AbortSignal.timeout(LOOKUP_TIMEOUT_MS)]));
  const ordered = (providers: readonly Provider[]) =>
    orderPeers(providers, (provider) => peers.standing(provider), random);
  return {
    async *providers(digest, signal) {
      for await (const batch of inBatches(lookup(digestKey(digest), PROVIDERS_MAX, signal))) yield ordered(batch);
    },
    ordered,
    tagCandidates: async (tag, signal) => {
      const own = deps.store.resolve(tag, signal);
      const said: Array<{ record: TagRecord; provider: Provider }> = [];
      const toAsk: Provider[] = [];
      for await (const provider of lookup(tagKey(tag), TAG_PROVIDERS_MAX, signal)) {
        if (provider.tag === undefined) toAsk.push(provider);
        else said.push({ record: provider.tag, provider });
      }
      said.push(...(await askForTag(deps, tag, toAsk, signal)));
      const record = await own;
      return rankTags(record, said, deps.now());
    },
  };
}

/** Pure: merges what this node and others say. A time in the future is a clock's fault, and no better than now. */
function rankTags(
  own: TagRecord | undefined,
  said: ReadonlyArray<{ readonly record: TagRecord; readonly provider: Provider }>,
  nowMs: number,
): TagCandidate[] {
  const byDigest = new Map<Digest, TagCandidate>();
  const add = ({ digest, resolvedAtMs }: TagRecord, provider?: Provider) => {
    const known = byDigest.get(digest);
    byDigest.set(digest, {
      digest,
      resolvedAtMs: Math.max(known?.resolvedAtMs ?? 0, Math.min(resolvedAtMs, nowMs)),
      providers: [...(known?.providers ?? []), ...(provider === undefined ? [] : [provider])],
    });
  };
  if (own !== undefined) add(own);
  for (const { record, provider } of said) add(record, provider);
  return [...byDigest.values()].sort((a, b) => b.resolvedAtMs - a.resolvedAtMs);
}

async function askForTag(
  { client, peers, random }: ResolverDeps,
  tag: TagReference,
  providers: readonly Provider[],
  signal: AbortSignal,
): Promise<Array<{ record: TagRecord; provider: Provider }>> {
  const chosen = orderPeers(providers, (provider) => peers.standing(provider), random).slice(0, TAG_PEERS_ASKED_MAX);
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(TAG_ASK_TIMEOUT_MS)]);
  const answers = await Promise.all(
    chosen.map(async (provider) => {
      try {
        return [{ record: await client.headTag(provider.address, tag, deadline), provider }];
      } catch (error) {
        if (!(error instanceof MiroirError)) throw error;
        return []; // One that cannot tell is as good as one that does not know.
      }
    }),
  );
  return answers.flat();
}

/** Groups what comes within a moment of each other. */
async function* inBatches<T>(source: AsyncIterable<T>): AsyncIterable<T[]> {
  const iterator = source[Symbol.asyncIterator]();
  try {
    let next = iterator.next();
    for (;;) {
      const first = await next;
      if (first.done === true) return;
      const batch = [first.value];
      next = iterator.next();
      const timer = Promise.withResolvers<undefined>();
      const timeout = setTimeout(() => timer.resolve(undefined), BATCH_WAIT_MS);
      for (;;) {
        const more = await Promise.race([next, timer.promise]);
        if (more === undefined || more.done === true) break;
        batch.push(more.value);
        next = iterator.next();
      }
      clearTimeout(timeout);
      yield batch;
    }
  } finally {
    void iterator.return?.();
  }
}
