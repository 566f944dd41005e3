import type { StoreEvent, TagRecord } from './store/store.ts';
import { type Advertisement, digestKey, type Key, tagKey } from './swarm/router.ts';

export type ChangeType = 'CREATE' | 'UPDATE' | 'DELETE';

export interface Change {
  readonly type: ChangeType;
  readonly entry: Advertisement;
}

export interface Holdings {
  /** What is new about this event: nothing when it was known. */
  apply(event: StoreEvent): readonly Change[];
  /** A new listing begins: what it does not name until `listed` is gone. */
  relist(): void;
  readonly digestCount: number;
  readonly tagCount: number;
  /** Whether an event was left out because the limit was reached. */
  readonly isFull: boolean;
}

interface Held {
  readonly tag: TagRecord | undefined;
  readonly listing: number;
}

/** What this node is known to hold, told apart from what is merely told again. */
export function createHoldings(options: { readonly keysMax: number }): Holdings {
  const held = new Map<Key, Held>();
  let listing = 0;
  let tagCount = 0;
  let isFull = false;

  function put(key: Key, tag: TagRecord | undefined): readonly Change[] {
    const known = held.get(key);
    if (known === undefined && held.size >= options.keysMax) {
      isFull = true;
      return [];
    }
    if (known === undefined && tag !== undefined) tagCount += 1;
    held.set(key, { tag, listing });
    const entry = tag === undefined ? { key } : { key, tag };
    if (known === undefined) return [{ type: 'CREATE', entry }];
    const isSame = known.tag?.digest === tag?.digest && known.tag?.resolvedAtMs === tag?.resolvedAtMs;
    return isSame ? [] : [{ type: 'UPDATE', entry }];
  }

  function drop(key: Key): readonly Change[] {
    const known = held.get(key);
    if (known === undefined) return [];
    held.delete(key);
    if (known.tag !== undefined) tagCount -= 1;
    return [{ type: 'DELETE', entry: { key } }];
  }

  return {
    apply: (event) => {
      switch (event.type) {
        case 'content-created':
          return put(digestKey(event.digest), undefined);
        case 'content-deleted':
          return drop(digestKey(event.digest));
        case 'tag-created':
        case 'tag-updated':
          return put(tagKey(event.tag), event.record);
        case 'tag-deleted':
          return drop(tagKey(event.tag));
        case 'listed':
          return [...held].filter(([, { listing: at }]) => at !== listing).flatMap(([key]) => drop(key));
      }
    },
    relist: () => {
      listing += 1;
    },
    get digestCount() {
      return held.size - tagCount;
    },
    get tagCount() {
      return tagCount;
    },
    get isFull() {
      return isFull;
    },
  };
}
