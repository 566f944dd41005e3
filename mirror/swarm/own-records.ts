import { setImmediate } from 'node:timers/promises';
import type { TagRecord } from '../store/store.ts';
import type { Advertisement, Key } from './router.ts';
import type { Session } from './session.ts';
import { FRAME_ENTRIES_MAX, hashKey, type KeyHash, type TagAge, type WireEntry } from './wire.ts';

/** What this node advertises, and which members its records were given to. */
interface OwnRecords {
  readonly size: number;
  /** Takes the entries and gives them to their keepers. Returns what will tell that each keeper has its part. */
  add(entries: readonly Advertisement[]): Array<Promise<boolean>>;
  remove(keys: readonly Key[]): Array<Promise<boolean>>;
  find(key: KeyHash): { readonly tag?: TagAge } | undefined;
  /** After members came or went: gives the records, soon, to those who are their keepers now and takes them from the others. */
  placeAgain(): void;
}

interface OwnRecordsDeps {
  /** Milliseconds of the wall clock. */
  readonly now: () => number;
  readonly keepersOf: (key: KeyHash) => readonly Session[];
}

interface OwnRecord {
  readonly tag: TagRecord | undefined;
  /** Sessions rather than members: with a new session, a member has everything to get again. */
  keepers: readonly Session[];
}

/** A millisecond or two of work; then others have their turn. */
const RECORDS_A_TURN = 1_000;
/** Members come in swarms: one pass for all that come within this. */
const PLACE_AGAIN_AFTER_MS = 20;

export function createOwnRecords({ now, keepersOf }: OwnRecordsDeps): OwnRecords {
  const records = new Map<KeyHash, OwnRecord>();
  let state: 'placed' | 'scheduled' | 'placing' | 'placing, and again' = 'placed';

  const ageOf = (tag: TagRecord): TagAge => ({ digest: tag.digest, ageMs: Math.max(0, now() - tag.resolvedAtMs) });
  const entryOf = (key: KeyHash, { tag }: OwnRecord): WireEntry => ({
    key,
    ...(tag !== undefined && { tag: ageOf(tag) }),
  });

  const placeAll = async (): Promise<void> => {
    state = 'placing';
    let batches = createBatches();
    let count = 0;
    for (const [key, record] of records) {
      const keepers = keepersOf(key);
      for (const keeper of keepers) {
        if (!record.keepers.includes(keeper)) batches.of(keeper).adds.push(entryOf(key, record));
      }
      for (const former of record.keepers) {
        if (!keepers.some(({ peerId }) => peerId === former.peerId)) batches.of(former).removes.push(key);
      }
      record.keepers = keepers;
      count += 1;
      if (count % RECORDS_A_TURN === 0) {
        void batches.send();
        batches = createBatches();
        await setImmediate();
      }
    }
    void batches.send();
    const isChanged = (state as string) === 'placing, and again';
    state = 'placed';
    if (isChanged) placeAgain();
  };

  const placeAgain = (): void => {
    if (state === 'placing') state = 'placing, and again';
    if (state !== 'placed') return;
    state = 'scheduled';
    setTimeout(() => void placeAll(), PLACE_AGAIN_AFTER_MS).unref();
  };

  return {
    get size() {
      return records.size;
    },
    add: (entries) => {
      const batches = createBatches();
      for (const { key, tag } of entries) {
        const hash = hashKey(key);
        const record: OwnRecord = { tag, keepers: keepersOf(hash) };
        // Keepers of before are still to lose it, when they are no longer.
        const former = records.get(hash)?.keepers ?? [];
        records.set(hash, record);
        for (const keeper of record.keepers) batches.of(keeper).adds.push(entryOf(hash, record));
        record.keepers = [...record.keepers, ...former.filter((session) => !record.keepers.includes(session))];
      }
      return batches.send();
    },
    remove: (keys) => {
      const batches = createBatches();
      for (const hash of keys.map(hashKey)) {
        for (const keeper of records.get(hash)?.keepers ?? []) batches.of(keeper).removes.push(hash);
        records.delete(hash);
      }
      return batches.send();
    },
    find: (key) => {
      const record = records.get(key);
      return record && (record.tag === undefined ? {} : { tag: ageOf(record.tag) });
    },
    placeAgain,
  };
}

/** What is to be told to each member, in as few frames as it fits in. */
function createBatches() {
  const batches = new Map<Session, { readonly adds: WireEntry[]; readonly removes: KeyHash[] }>();
  return {
    of: (session: Session) => {
      const batch = batches.get(session) ?? { adds: [], removes: [] };
      batches.set(session, batch);
      return batch;
    },
    send: (): Array<Promise<boolean>> =>
      [...batches].flatMap(([session, { adds, removes }]) => [
        ...chunk(adds).map((entries) => session.add(entries)),
        ...chunk(removes).map((keys) => session.remove(keys)),
      ]),
  };
}

function chunk<T>(items: readonly T[]): T[][] {
  const count = Math.ceil(items.length / FRAME_ENTRIES_MAX);
  return Array.from({ length: count }, (_, index) =>
    items.slice(index * FRAME_ENTRIES_MAX, (index + 1) * FRAME_ENTRIES_MAX),
  );
}
