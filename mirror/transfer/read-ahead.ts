import { free } from '../../common/own-memory.ts';
import type { TurnsLimits } from './turns.ts';

/** Half of a connection's memory: enough that asking for the next one costs little, and little to be kept. */
export const TURNS_LIMITS: TurnsLimits = { partBytes: 1024 * 1024, windowBytes: 4 * 1024 * 1024 };

/** What comes early is kept in memory, and a mirror is to stay below 128 MB whatever it does: 8 MiB of it. */
const RELAYS_MAX = 2;

/** Where two were no faster than one, this node's own network is what is slow, or the registry's client. */
const IN_VAIN_MS = 60_000;

export interface ReadAheadDeps {
  /** Milliseconds. */
  readonly now: () => number;
}

/** How much all relays of a mirror may read ahead. */
export interface ReadAhead {
  /** Memory for a relay, of which `close` is to be called; undefined when enough is read ahead, or when it was in vain a moment ago. */
  begin(): Early | undefined;
  wasInVain(): void;
}

/** What came before it was its turn. */
export interface Early {
  /** Copies bytes of a part behind those that it has. */
  store(part: number, bytes: Uint8Array): void;
  /** All that was stored of a part: it is not there any more then, and its memory is free when it is released. */
  take(part: number): { readonly bytes: Uint8Array; readonly release: () => void };
  drop(): void;
  /** Drops all, and gives back what may be read ahead once what was taken is released. */
  close(): void;
}

export function createReadAhead({ now }: ReadAheadDeps): ReadAhead {
  let count = 0;
  let vainUntilMs = Number.NEGATIVE_INFINITY;
  return {
    begin: () => {
      if (count >= RELAYS_MAX || now() < vainUntilMs) return undefined;
      count += 1;
      return createEarly(() => {
        count -= 1;
      });
    },
    wasInVain: () => {
      vainUntilMs = now() + IN_VAIN_MS;
    },
  };
}

function createEarly(closed: () => void): Early {
  const stored = new Map<number, { readonly buffer: Uint8Array; filled: number }>();
  let takenCount = 0;
  let isClosing = false;

  const drop = () => {
    for (const { buffer } of stored.values()) free(buffer);
    stored.clear();
  };

  const closeWhenReleased = () => {
    if (isClosing && takenCount === 0) closed();
  };

  return {
    store: (part, bytes) => {
      const entry = stored.get(part) ?? { buffer: new Uint8Array(TURNS_LIMITS.partBytes), filled: 0 };
      entry.buffer.set(bytes, entry.filled);
      entry.filled += bytes.length;
      stored.set(part, entry);
    },
    take: (part) => {
      const entry = stored.get(part);
      if (entry === undefined) throw new Error('nothing was stored of this part');
      stored.delete(part);
      takenCount += 1;
      return {
        bytes: entry.buffer.subarray(0, entry.filled),
        release: () => {
          free(entry.buffer);
          takenCount -= 1;
          closeWhenReleased();
        },
      };
    },
    drop,
    close: () => {
      if (isClosing) return;
      isClosing = true;
      drop();
      closeWhenReleased();
    },
  };
}
