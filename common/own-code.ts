import fs from 'node:fs';
import { createLetGo } from './let-go.ts';

/**
 * Unmaps Node's own code, of which half is needed by nothing but its start. What is needed again is mapped again where it is touched, from
 * the page cache; the rest counts no more as this process's memory, and the system may use it otherwise. Answers the bytes of
 * code that were let go, mapped or not; 0 where the C library cannot be called.
 */
export function letGoOfOwnCode(): number {
  const letGo = createLetGo();
  if (letGo === undefined) return 0;
  let byteCount = 0;
  for (const { start, end } of codeOf(fs.readFileSync('/proc/self/maps', 'utf8'), fs.realpathSync(process.execPath))) {
    byteCount += letGo.range(start, end);
  }
  return byteCount;
}

interface Mapping {
  readonly start: bigint;
  readonly end: bigint;
}

/** The mappings of a file that are code: nothing was ever written there, so nothing is lost with them (proc(5)). */
export function codeOf(maps: string, file: string): readonly Mapping[] {
  const found: Mapping[] = [];
  for (const line of maps.split('\n')) {
    const [, start, end, path] = /^([0-9a-f]+)-([0-9a-f]+) r-xp \S+ \S+ \d+ +(.*)$/.exec(line) ?? [];
    if (path === file) found.push({ start: BigInt(`0x${start}`), end: BigInt(`0x${end}`) });
  }
  return found;
}
