import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';

/** Content under the name that somebody asks for it by: the same bytes may be private elsewhere. */
export interface Named {
  readonly registry: Registry;
  readonly repository: Repository;
  readonly digest: Digest;
}

/** Whose right: of whom these credentials are, by their hash; undefined for everybody. */
export type Who = string | undefined;

/** Who may read something: everybody, or whoever proves it. */
export type Readers = 'everybody' | 'some';

/** `absent` says nothing of what else is in the repository. */
export type LearntRight = 'granted' | 'denied' | 'absent';

export type KnownRight = 'granted' | 'denied' | 'unknown';

export interface KnownRightsOptions {
  readonly entriesMax: number;
}

/** How old what is known may be. */
export interface AgeLimits {
  readonly grantedMsMax: number;
  readonly deniedMsMax: number;
  /** For everybody, of a repository of which something was denied. */
  readonly privateMsMax: number;
}

/** What registries said of who may read what. A decision that needs no registry; it is forgotten when there is too much of it. */
export interface KnownRights {
  right(content: Named, who: Who, ages: AgeLimits, nowMs: number): KnownRight;
  learn(content: Named, who: Who, right: LearntRight, nowMs: number): void;
  /** What others have learnt, who knows when: it is for an outage, when age does not count. */
  hear(content: Named, readers: Readers): void;
  /** Whoever may read a manifest may read what it lists; the list is asked for when it is not known yet. */
  cover(manifest: Named, children: () => readonly Digest[]): void;
  /** Which manifests cover it, the last one first; empty when none is known. */
  coveredBy(content: Named): readonly Digest[];
  /** A tag of its registry is known to stand for it: by who resolved it there. */
  bind(content: Named): void;
  isBound(content: Named): boolean;
}

interface Fact {
  readonly isGranted: boolean;
  readonly atMs: number;
}

interface Entry {
  everybody: Fact | undefined;
  readonly proofs: Map<string, Fact>;
  parents: readonly Digest[];
  isBound: boolean;
  isCovering: boolean;
}

/** A cluster has a few pull secrets for a repository. */
const PROOFS_MAX = 16;
/** The same layer in many tags of a repository: any of them grants it. */
const PARENTS_MAX = 8;
/** A layer, its manifest, and the index of that one; nothing else nests in practice. */
const DEPTH_MAX = 3;
const REPOSITORIES_MAX = 4096;

export function createKnownRights({ entriesMax }: KnownRightsOptions): KnownRights {
  /** The least recently used first. */
  const entries = new Map<string, Entry>();
  /** By repository: when everybody was last denied something in it; gone when everybody was granted something since. */
  const privates = new Map<string, number>();

  const find = (content: Named): Entry | undefined => {
    const key = keyOf(content);
    const entry = entries.get(key);
    if (entry === undefined) return undefined;
    entries.delete(key);
    entries.set(key, entry);
    return entry;
  };
  const make = (content: Named): Entry => {
    const entry = find(content) ?? newEntry();
    entries.set(keyOf(content), entry);
    dropOldest(entries, entriesMax);
    return entry;
  };

  const rightAt = (content: Named, who: Who, ages: AgeLimits, nowMs: number, depth: number): KnownRight => {
    const entry = find(content);
    if (entry === undefined) return 'unknown';
    const own = who === undefined ? undefined : entry.proofs.get(who);
    const facts = [entry.everybody, own].filter((fact) => fact !== undefined);
    if (facts.some(({ isGranted, atMs }) => isGranted && nowMs - atMs <= ages.grantedMsMax)) return 'granted';
    const above = (depth < DEPTH_MAX ? entry.parents : []).map((digest) =>
      rightAt({ ...content, digest }, who, ages, nowMs, depth + 1),
    );
    if (above.includes('granted')) return 'granted';
    const said = who === undefined ? entry.everybody : own;
    if (said?.isGranted === false && nowMs - said.atMs <= ages.deniedMsMax) return 'denied';
    return above.includes('denied') ? 'denied' : 'unknown';
  };

  const learn: KnownRights['learn'] = (content, who, right, nowMs) => {
    const entry = make(content);
    const fact = { isGranted: right === 'granted', atMs: nowMs };
    if (who !== undefined) {
      putProof(entry.proofs, who, fact);
      return;
    }
    entry.everybody = fact;
    if (right === 'absent') return;
    privates.delete(repositoryOf(content));
    if (right === 'denied') privates.set(repositoryOf(content), nowMs);
    dropOldest(privates, REPOSITORIES_MAX);
  };

  return {
    learn,
    hear: (content, readers) => {
      if (find(content)?.everybody !== undefined) return;
      make(content).everybody = { isGranted: readers === 'everybody', atMs: Number.NEGATIVE_INFINITY };
      // Of the rest of its repository it says less than what this node was told itself, which may be newer.
      const repository = repositoryOf(content);
      if (readers === 'some' && !privates.has(repository)) privates.set(repository, Number.NEGATIVE_INFINITY);
      dropOldest(privates, REPOSITORIES_MAX);
    },
    right: (content, who, ages, nowMs) => {
      const right = rightAt(content, who, ages, nowMs, 1);
      if (right !== 'unknown' || who !== undefined) return right;
      const deniedAtMs = privates.get(repositoryOf(content));
      return deniedAtMs !== undefined && nowMs - deniedAtMs <= ages.privateMsMax ? 'denied' : 'unknown';
    },
    cover: (manifest, children) => {
      const covering = make(manifest);
      if (covering.isCovering) return;
      covering.isCovering = true;
      for (const digest of children()) {
        const entry = make({ ...manifest, digest });
        if (entry.parents[0] === manifest.digest) continue;
        const others = entry.parents.filter((parent) => parent !== manifest.digest);
        entry.parents = [manifest.digest, ...others].slice(0, PARENTS_MAX);
      }
    },
    coveredBy: (content) => find(content)?.parents ?? [],
    bind: (content) => {
      make(content).isBound = true;
    },
    isBound: (content) => {
      const isBoundAt = (digest: Digest, depth: number): boolean => {
        const entry = find({ ...content, digest });
        if (entry === undefined) return false;
        return entry.isBound || (depth < DEPTH_MAX && entry.parents.some((parent) => isBoundAt(parent, depth + 1)));
      };
      return isBoundAt(content.digest, 1);
    },
  };
}

function newEntry(): Entry {
  return { everybody: undefined, proofs: new Map(), parents: [], isBound: false, isCovering: false };
}

/** Whoever tries passwords must not make those be forgotten that are right. */
function putProof(proofs: Map<string, Fact>, who: string, fact: Fact): void {
  proofs.delete(who);
  proofs.set(who, fact);
  if (proofs.size <= PROOFS_MAX) return;
  const [dropped] = [...proofs].find(([, { isGranted }]) => !isGranted) ?? [...proofs][0] ?? [who];
  proofs.delete(dropped);
}

function keyOf({ registry, repository, digest }: Named): string {
  return `${registry}/${repository}@${digest}`;
}

function repositoryOf({ registry, repository }: Named): string {
  return `${registry}/${repository}`;
}

function dropOldest(map: Map<string, unknown>, countMax: number): void {
  const [oldest] = map.keys();
  if (map.size > countMax && oldest !== undefined) map.delete(oldest);
}
