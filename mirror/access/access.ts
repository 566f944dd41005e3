import { createHmac } from 'node:crypto';
import { hasCode } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import type { AskedContent, RegistryClient, Right } from '../upstream/registry-client.ts';
import { createKnownRights, type KnownRight, type Named, type Readers, type Who } from './known-rights.ts';
import { manifestChildren } from './manifest-children.ts';
import type { AccessMetrics } from './metrics.ts';
import { createStandings } from './standings.ts';

/**
 * Who gets what the registry lets only some read. `prove`: who has the right, by the registry; while that cannot be asked, what
 * is known holds and the others are served. `prove-always`: while it cannot be asked, nobody else is. `share`: every pod of the node.
 */
export type PrivateImages = 'prove' | 'prove-always' | 'share';

export interface AccessDeps {
  readonly registries: RegistryClient;
  /** A manifest of this node's own, undefined when it has none. */
  readonly readManifest: (digest: Digest, signal: AbortSignal) => Promise<Uint8Array | undefined>;
  /** Who may read a manifest by what its holders know; for an outage. */
  readonly askPeers: (content: Named, signal: AbortSignal) => Promise<Readers | undefined>;
  readonly log: Logger;
  readonly metrics: AccessMetrics;
  readonly now: () => number;
}

export interface AccessOptions {
  readonly privateImages: PrivateImages;
  /** Those that a person named: that they are registries needs no other proof. */
  readonly listed: readonly Registry[];
  /** Of this process alone: what credentials are known by is of no use elsewhere. */
  readonly hashKey: Uint8Array;
}

export interface WantedRight {
  readonly kind: 'manifest' | 'blob';
  /** Undefined when the client did not say. */
  readonly registry?: Registry | undefined;
  readonly repository: Repository;
  readonly digest: Digest;
}

/** `challenge`: whoever asks has to say who he is; `refused`: he did, and it does not help him. */
export type Permission = 'granted' | 'challenge' | 'refused';

/** Whether whoever asks the local registry may have what he asks for. `authorization` is the header as it came. */
export interface Access {
  /** What needs no question: undefined when there is one. At once. */
  known(wanted: WantedRight, authorization: string | undefined): Permission | undefined;
  /** Asks the registry unless it is known. To be called for what is there to be served, and for nothing else. */
  ask(wanted: WantedRight, authorization: string | undefined, signal: AbortSignal): Promise<Permission>;
  /** A manifest that was found, by a tag or by its digest: whoever may read it may read what it lists. */
  found(wanted: WantedRight, manifest: Uint8Array, isByTag: boolean): void;
  /** A manifest that containerd fetches from its registry: it will be in this node's store before its layers are asked for. */
  leftToRegistry(wanted: WantedRight): void;
  /** What others may be told in an outage: who may read something, as far as it is known here. */
  readonly readers: (content: Named) => Readers | undefined;
}

/** For a node whose pods may see each other's images. */
export const OPEN_ACCESS: Access = {
  known: () => 'granted',
  ask: async () => 'granted',
  found: () => {},
  leftToRegistry: () => {},
  readers: () => undefined,
};

/** How soon a right that is taken away, or given, is noticed. Who is denied wrongly meanwhile is served by the registry. */
const MANIFEST_AGES = { grantedMsMax: 10 * 60_000, deniedMsMax: 60_000, privateMsMax: 10 * 60_000 };

/** A pull must end as it began: a part of a layer that is refused after others were sent fails it. An hour is a long pull. */
const BLOB_AGES = { ...MANIFEST_AGES, grantedMsMax: 60 * 60_000 };

/** Whatever was learnt before an outage holds while it lasts. */
const OUTAGE_AGES = { grantedMsMax: Infinity, deniedMsMax: Infinity, privateMsMax: Infinity };

/** What a pull waits for the registry, which then comes next anyway. */
const WAIT_MS = 2000;
/** A registry that is late is still worth listening to: the next request is answered by what it says. */
const QUESTION_MS = 10_000;
/** To tell an outage from a question that this registry has no answer to. */
const LOOK_MS = 1000;

/** A node pulls a few images at a time; whoever wants many more questions asked than that is after something else. */
const QUESTIONS_MAX = 64;
/** An image takes a dozen entries, of a few hundred bytes each. */
const ENTRIES_MAX = 16_384;
/** Between a manifest and its layers others come in between, though few. */
const LEFT_MAX = 64;
/** Twice what the longest of tokens that serve as passwords take. */
const BASIC = /^Basic [A-Za-z0-9+/]{1,12000}={0,2}$/i;

type Outcome = Right | 'unavailable' | 'shed';

export function createAccess(deps: AccessDeps, options: AccessOptions): Access {
  if (options.privateImages === 'share') return OPEN_ACCESS;
  const { log, metrics, now } = deps;
  const rights = createKnownRights({ entriesMax: ENTRIES_MAX });
  const standings = createStandings(now, options.listed);
  const questions = new Map<string, Promise<Outcome>>();
  const looks = new Map<Registry, Promise<boolean>>();
  const left: Named[] = [];

  const known = (wanted: Named & WantedRight, who: Who, ages = agesOf(wanted)): KnownRight =>
    rights.right(wanted, who, ages, now());

  const question = async (content: AskedContent, who: Who, authorization: string | undefined): Promise<Outcome> => {
    const { registry, repository, digest } = content;
    const credentials = who === undefined ? 'none' : 'basic';
    let outcome: Outcome;
    try {
      outcome = await deps.registries.rightTo(content, authorization, AbortSignal.timeout(QUESTION_MS));
      standings.answered(registry);
      if (outcome === 'public') rights.learn(content, undefined, 'granted', now());
      else rights.learn(content, who, outcome === 'allowed' ? 'granted' : outcome, now());
    } catch (error) {
      if (!hasCode(error, 'ERR_REGISTRY_UNAVAILABLE')) throw error;
      outcome = 'unavailable';
      if (standings.failed(registry)) log.warn('A registry cannot be asked who may read', { registry, error });
    }
    metrics.questions.inc({ credentials, outcome });
    log.debug('asked who may read', { registry, repository, digest, credentials, outcome });
    return outcome;
  };

  const look = (registry: Registry): Promise<boolean> =>
    once(looks, registry, async () => {
      const isThere = await deps.registries.isThere(registry, AbortSignal.timeout(LOOK_MS));
      if (isThere) standings.answered(registry);
      else standings.wentAway(registry);
      return isThere;
    });

  const askOnce = async (content: AskedContent, who: Who, authorization: string | undefined): Promise<Outcome> => {
    if (standings.isAway(content.registry)) {
      if (standings.isDue(content.registry)) void look(content.registry);
      return 'unavailable';
    }
    const key = `${content.registry}/${content.repository}/${content.digest} ${who ?? ''}`;
    const isShed = !questions.has(key) && questions.size >= QUESTIONS_MAX;
    if (isShed) metrics.questions.inc({ credentials: who === undefined ? 'none' : 'basic', outcome: 'shed' });
    if (isShed) return 'shed';
    const asked = once(questions, key, () => question(content, who, authorization));
    return (await withinMs(asked, WAIT_MS)) ?? 'unavailable';
  };

  /** Not answered is not away: credentials, or the name of what is asked for, may be what a registry chokes on. */
  const isAway = async (registry: Registry): Promise<boolean> => standings.isAway(registry) || !(await look(registry));

  /** What to ask about: the manifest that lists it, which the registry answers for all of its parts at once. */
  const subjectOf = async (wanted: Named & WantedRight, signal: AbortSignal): Promise<AskedContent> => {
    if (rights.coveredBy(wanted).length === 0) await readLeft(wanted, signal);
    const [manifest] = rights.coveredBy(wanted);
    return manifest === undefined ? wanted : { ...wanted, kind: 'manifest', digest: manifest };
  };

  /** Manifests that came from the registry were not seen on their way. */
  const readLeft = async ({ registry, repository }: Named, signal: AbortSignal): Promise<void> => {
    const isOfIt = (one: Named) => one.registry === registry && one.repository === repository;
    for (const one of left.filter(isOfIt)) {
      const bytes = await deps.readManifest(one.digest, signal);
      if (bytes === undefined) continue;
      rights.cover(one, () => manifestChildren(bytes));
      const at = left.indexOf(one);
      if (at >= 0) left.splice(at, 1);
    }
  };

  /** Those who hold it may know: whoever fetched it from its registry has asked. */
  const hear = async (content: Named, signal: AbortSignal): Promise<void> => {
    const readers = await deps.askPeers(content, signal);
    log.debug('asked peers who may read', { ...content, readers });
    if (readers !== undefined) rights.hear(content, readers);
  };

  const unanswered = async (
    wanted: Named & WantedRight,
    subject: Named,
    who: Who,
    signal: AbortSignal,
  ): Promise<Permission> => {
    const away = await isAway(wanted.registry);
    if (known(wanted, who, OUTAGE_AGES) === 'unknown') await hear(subject, signal);
    const right = known(wanted, who, OUTAGE_AGES);
    if (right !== 'unknown') return permission(right, who);
    // A name that was made up is a registry that never answers: it must not open what another registry keeps.
    const isBound = rights.isBound(wanted);
    const isOutage = away ? isBound || standings.isReal(wanted.registry) : isBound && who === undefined;
    if (options.privateImages === 'prove-always' || !isOutage) return permission('denied', who);
    metrics.unproved.inc();
    return 'granted';
  };

  return {
    known: (wanted, authorization) => {
      if (!isNamed(wanted)) return 'refused';
      const who = whoIs(options.hashKey, wanted, authorization);
      const right = known(wanted, who);
      return right === 'unknown' ? undefined : permission(right, who);
    },
    ask: async (wanted, authorization, signal) => {
      if (!isNamed(wanted)) return 'refused';
      const who = whoIs(options.hashKey, wanted, authorization);
      const before = known(wanted, who);
      if (before !== 'unknown') return permission(before, who);
      const subject = await subjectOf(wanted, signal);
      const right = known(wanted, who);
      if (right !== 'unknown') return permission(right, who);
      const outcome = await askOnce(subject, who, who === undefined ? undefined : authorization);
      if (outcome === 'unavailable') return unanswered(wanted, subject, who, signal);
      return permission(outcome === 'public' || outcome === 'allowed' ? 'granted' : 'denied', who);
    },
    found: (wanted, manifest, isByTag) => {
      if (!isNamed(wanted)) return;
      if (isByTag) rights.bind(wanted);
      rights.cover(wanted, () => manifestChildren(manifest));
    },
    leftToRegistry: (wanted) => {
      if (!isNamed(wanted) || left.some((one) => one.digest === wanted.digest && one.repository === wanted.repository))
        return;
      left.push(wanted);
      if (left.length > LEFT_MAX) left.shift();
      // For those who will want it from here, in an outage above all. Nobody waits for it.
      if (known(wanted, undefined) !== 'unknown') return;
      askOnce(wanted, undefined, undefined).catch((error: unknown) => log.error('cannot ask who may read', { error }));
    },
    readers: (content) => {
      const right = rights.right(content, undefined, OUTAGE_AGES, now());
      return right === 'unknown' ? undefined : right === 'granted' ? 'everybody' : 'some';
    },
  };
}

function agesOf({ kind }: WantedRight) {
  return kind === 'blob' ? BLOB_AGES : MANIFEST_AGES;
}

function isNamed(wanted: WantedRight): wanted is WantedRight & Named {
  return wanted.registry !== undefined;
}

/** Without credentials, or with what is none, one is everybody. The registry is hashed too: a secret is known for one of them. */
function whoIs(hashKey: Uint8Array, { registry }: WantedRight, authorization: string | undefined): Who {
  if (authorization === undefined || !BASIC.test(authorization)) return undefined;
  return createHmac('sha256', hashKey).update(`${registry}\n${authorization}`).digest('base64');
}

function permission(right: 'granted' | 'denied', who: Who): Permission {
  if (right === 'granted') return 'granted';
  return who === undefined ? 'challenge' : 'refused';
}

function once<K, T>(running: Map<K, Promise<T>>, key: K, start: () => Promise<T>): Promise<T> {
  const before = running.get(key);
  if (before !== undefined) return before;
  const started = start().finally(() => running.delete(key));
  running.set(key, started);
  return started;
}

/** Undefined when it takes longer; it goes on then. */
async function withinMs<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const { promise: timeout, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(() => resolve(undefined), ms);
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
