import type { BufferLease } from '../transfer/buffer-pool.ts';
import type { BodyReceiver } from '../transfer/peer-client.ts';

/** A TLS record holds at most this much, and a socket hands over one at a time: less room than that is not worth a read. */
const ROOM_MIN = 16 * 1024;

interface Slab {
  readonly buffer: Uint8Array;
  /** Gives the memory back where it came from. */
  readonly give: () => void;
  filled: number;
  flushed: number;
  /** Views that the receiver has not released. */
  held: number;
  isRetired: boolean;
}

/**
 * Gathers what a socket reads, in pieces of 16 KB where it is encrypted, and hands it on in large pieces without copying:
 * the socket reads into the free end of a buffer, and the receiver gets views of what was filled since the last time.
 */
export interface Slabs {
  /** Where to read next; undefined while the receiver holds every buffer. */
  room(): Uint8Array | undefined;
  /** So many bytes were read into what `room` answered last. */
  filled(byteCount: number): void;
  /** Takes in bytes that were read elsewhere. */
  append(bytes: Uint8Array): void;
  /** Hands on bytes that came in memory of their own; `give` is called when the receiver has released them. */
  adopt(bytes: Uint8Array, give: () => void): void;
  /** Whether no more should be adopted until `freed` is called. */
  readonly isFull: boolean;
  /** Hands over what was gathered. */
  flush(receiver: BodyReceiver): void;
  /** Nothing more will be read: hands over the rest. The buffers go back as the receiver releases them. */
  finish(receiver: BodyReceiver): void;
  /** Nothing more will be handed over. */
  close(): void;
}

export interface SlabsDeps {
  readonly lease: BufferLease;
  /** How much of what came in memory of its own is held at once; one piece is taken in whatever it says. */
  readonly adoptedMax: () => number;
  /** Called when `room` has an answer again, and when less is adopted. */
  readonly freed: () => void;
}

export function createSlabs({ lease, adoptedMax, freed }: SlabsDeps): Slabs {
  let current: Slab | undefined;
  /** In order, those that were filled before `current` and are not handed over yet. */
  let waiting: Slab[] = [];
  let adopted = 0;

  const settle = (slab: Slab) => {
    if (!slab.isRetired || slab.held > 0 || slab.flushed < slab.filled) return;
    slab.give();
    freed();
  };

  const open = (buffer: Buffer): Slab => {
    return { buffer, give: () => lease.give(buffer), filled: 0, flushed: 0, held: 0, isRetired: false };
  };

  const whole = (buffer: Uint8Array, give: () => void): Slab => {
    return { buffer, give, filled: buffer.length, flushed: 0, held: 0, isRetired: true };
  };

  const retire = () => {
    if (current === undefined) return;
    current.isRetired = true;
    waiting.push(current);
    current = undefined;
  };

  const room = () => {
    if (current !== undefined && current.buffer.length - current.filled < ROOM_MIN) retire();
    if (current === undefined) {
      const buffer = lease.take();
      if (buffer !== undefined) current = open(buffer);
    }
    return current?.buffer.subarray(current.filled);
  };

  const append = (bytes: Uint8Array) => {
    let rest = bytes;
    while (rest.length > 0) {
      const space = room();
      if (space === undefined) {
        // What a socket had decrypted before it could be stopped, at most a few records.
        waiting.push(whole(Uint8Array.from(rest), () => {}));
        return;
      }
      const part = rest.subarray(0, space.length);
      space.set(part);
      (current as Slab).filled += part.length;
      rest = rest.subarray(part.length);
    }
  };

  const handOver = (slab: Slab, receiver: BodyReceiver) => {
    if (slab.flushed < slab.filled) {
      const view = slab.buffer.subarray(slab.flushed, slab.filled);
      slab.flushed = slab.filled;
      slab.held += 1;
      receiver.chunk(view, () => {
        slab.held -= 1;
        settle(slab);
      });
    } else {
      settle(slab);
    }
  };

  const flush = (receiver: BodyReceiver) => {
    const slabs = waiting;
    waiting = [];
    for (const slab of slabs) handOver(slab, receiver);
    if (current !== undefined) handOver(current, receiver);
  };

  return {
    room,
    filled: (byteCount) => {
      (current as Slab).filled += byteCount;
    },
    append,
    adopt: (bytes, give) => {
      adopted += 1;
      const slab = whole(bytes, () => {
        adopted -= 1;
        give();
      });
      waiting.push(slab);
    },
    get isFull() {
      return adopted >= Math.max(1, adoptedMax());
    },
    flush,
    finish: (receiver) => {
      retire();
      flush(receiver);
    },
    close: () => lease.close(),
  };
}
