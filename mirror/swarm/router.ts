import type { Component } from '../../common/lifecycle.ts';
import type { Digest } from '../../common/oci/digest.ts';
import { formatImageReference, type TagReference } from '../../common/oci/reference.ts';
import type { TagRecord } from '../store/store.ts';

declare const keyBrand: unique symbol;

/** What a provider is looked up by: a digest, or a tag as `registry/repository:tag`. */
export type Key = string & { readonly [keyBrand]: true };

export function digestKey(digest: Digest): Key {
  return digest as string as Key;
}

export function tagKey(tag: TagReference): Key {
  return formatImageReference(tag) as Key;
}

/** Something that this node can serve. A tag comes with the digest it stands for here. */
export interface Advertisement {
  readonly key: Key;
  readonly tag?: TagRecord;
}

/** Another mirror that said it can serve a key. Never this node itself. */
export interface Provider {
  /** The libp2p peer id that proved itself on the connection the record came over. */
  readonly peerId: string;
  /** Where its peer server listens: `10.0.0.7:29982`, `[fd00::7]:29982`. */
  readonly address: string;
  /**
   * What the provider knows the tag by, with `resolvedAtMs` on this node's clock: times cross the wire as ages, so that
   * clocks need not agree. Undefined for digests, and on routers that carry no values: then ask the provider.
   */
  readonly tag?: TagRecord;
  /** It has a part, and gets the rest while it sends. */
  readonly isReceiving?: boolean;
}

/** What a node that claims something has of it, and how long it lets another lead that shows no byte. */
export interface Want {
  readonly offset: number;
  readonly patienceMs: number;
  /** Nobody was asked yet who has it: this is a lookup too, and `held` makes no receiver of this node. */
  readonly isFirst?: boolean;
}

/** How much of some content this node has received. */
export interface Receipt {
  readonly key: Key;
  readonly offset: number;
  /** All of it is here, and not in the store yet: it gets on, though nothing more of it comes. */
  readonly isWhole: boolean;
}

/**
 * What a node is to do that wants content nobody holds. `lead`: fetch it from its registry. `follow`: get it from these, who are
 * receiving it, in this order. `held`: get it from these; those who are still receiving it come last, and are not named for a first question.
 * `unknown`: who knows did not answer a first question as fast as a lookup would have.
 */
export type Claim =
  | { readonly role: 'lead' }
  | { readonly role: 'unknown' }
  | { readonly role: 'follow' | 'held'; readonly providers: readonly Provider[] };

export interface LookupOptions {
  /** At most this many providers. */
  readonly limit: number;
}

/**
 * The swarm's index: who can serve what. `start` joins; `stop` leaves, after which nobody finds this node.
 *
 * A router keeps what it was told to advertise findable while members come and go, until it is withdrawn.
 */
export interface Router extends Component {
  /** Resolves when the members that keep these records have them, or when none is reachable (a node may be alone). */
  advertise(entries: readonly Advertisement[], signal: AbortSignal): Promise<void>;
  withdraw(keys: readonly Key[], signal: AbortSignal): Promise<void>;
  /**
   * Yields providers as they are found, no provider twice, the best informed first. Ends when all who could know have
   * answered, at the limit, at the router's own deadline, or when the signal aborts; it throws for none of these.
   */
  lookup(key: Key, options: LookupOptions, signal: AbortSignal): AsyncIterable<Provider>;
  /**
   * Asks who of all that want the same now fetches it. Answers `lead` when nobody can tell, so that
   * a pull goes on without the swarm; throws for none of these.
   */
  claim(key: Key, want: Want, signal: AbortSignal): Promise<Claim>;
  /** Whether a claim may come first, without a lookup: who answers it knows who has it. Not while members come and go. */
  mayClaimFirst(): boolean;
  /** Tells what this node is receiving, and how far it is, to who coordinates that. To be told again every second or so. */
  receiving(receipts: readonly Receipt[]): void;
  /** Tells that this node has given these up. Of what it has received whole, `advertise` tells. */
  gaveUp(keys: readonly Key[]): void;
  /** The other members that are connected now. */
  members(): readonly Member[];
  /** Whether a lookup can find what others hold: true once every member configured was tried. */
  isReady(): boolean;
}

export interface Member {
  readonly peerId: string;
  readonly address: string;
}
