import { createHash } from 'node:crypto';
import type { KeyHash } from './wire.ts';

/** A member's place among the keys: the first four bytes of sha256 of its peer id. */
export interface Place {
  readonly peerId: string;
  readonly position: number;
}

export function placeOf(peerId: string): Place {
  return { peerId, position: createHash('sha256').update(peerId).digest().readUInt32BE() };
}

/**
 * The members whose place is closest to the key by XOR, closest first. Every member that knows the same others comes to
 * the same answer, and a member that comes or goes moves only the keys close to it. Four bytes tell any realistic number
 * of members apart; what they cannot, the peer id does.
 */
export function closestPlaces<P extends Place>(places: Iterable<P>, key: KeyHash, count: number): P[] {
  const target = positionOf(key);
  const closest: P[] = [];
  for (const place of places) {
    let index = closest.length;
    while (index > 0 && isCloser(place, closest[index - 1] as P, target)) index -= 1;
    if (index >= count) continue;
    closest.splice(index, 0, place);
    if (closest.length > count) closest.pop();
  }
  return closest;
}

function isCloser(a: Place, b: Place, target: number): boolean {
  const distanceA = (a.position ^ target) >>> 0;
  const distanceB = (b.position ^ target) >>> 0;
  return distanceA < distanceB || (distanceA === distanceB && a.peerId < b.peerId);
}

function positionOf(key: KeyHash): number {
  const byte = (index: number) => key.charCodeAt(index);
  return ((byte(0) << 24) | (byte(1) << 16) | (byte(2) << 8) | byte(3)) >>> 0;
}
