import { createLetGo, type LetGo } from './let-go.ts';

/**
 * Memory of one size that is used again and again: asking the system for it anew costs more than filling it, and leaving it to the
 * collector has that run as soon as many begin at once.
 */
export interface SpareMemory {
  /** What was given back, or new memory, whose content is whatever was there. */
  take(): Buffer;
  give(buffer: Buffer): void;
  /** How many wait to be taken, and have memory of the system behind them. */
  readonly count: number;
}

export interface SpareMemoryOptions {
  readonly byteCount: number;
  /** So many are kept; what is given beyond them is left to the collector. */
  readonly countMax: number;
  /** False where the system takes nothing back: then what nobody uses is left to the collector. */
  readonly letGo?: LetGo | false;
}

/** What nobody used for so long is given back to the system: a mirror at rest is small. */
const IDLE_MS = 10_000;

export function createSpareMemory({
  byteCount,
  countMax,
  letGo = createLetGo() ?? false,
}: SpareMemoryOptions): SpareMemory {
  const spare: Buffer[] = [];
  /** With nothing behind them. Those of the beginning are here, as the system gives memory only to what is filled. */
  const empty: Buffer[] =
    letGo === false ? [] : Array.from({ length: countMax }, () => Buffer.allocUnsafeSlow(byteCount));
  let isTrimming = false;

  const trimLater = () => {
    if (isTrimming) return;
    isTrimming = true;
    setTimeout(() => {
      isTrimming = false;
      const idle = spare.shift();
      if (idle !== undefined && letGo !== false) {
        letGo.buffer(idle);
        empty.push(idle);
      }
      if (spare.length > 0) trimLater();
    }, IDLE_MS / countMax).unref();
  };

  return {
    take: () => spare.pop() ?? empty.pop() ?? Buffer.allocUnsafeSlow(byteCount),
    give: (buffer) => {
      if (spare.length + empty.length >= countMax) return;
      spare.push(buffer);
      trimLater();
    },
    get count() {
      return spare.length;
    },
  };
}
