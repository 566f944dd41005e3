import { MiroirError } from '../../common/errors.ts';
import { type Digest, digestHex, parseDigest } from '../../common/oci/digest.ts';
import type { KeyHash, TagAge } from './wire.ts';

/** Before every frame. */
export const LENGTH_BYTES = 4;
/** Ten years: no image is that old, so a larger age is a broken or hostile sender. */
export const TAG_AGE_MS_MAX = 10 * 365 * 24 * 3600 * 1000;
const KEY_BYTES = 32;

/** Appends to a buffer that doubles as it fills. */
export class Writer {
  #buffer = Buffer.allocUnsafe(1024);
  #length = LENGTH_BYTES;

  #reserve(bytes: number): number {
    const offset = this.#length;
    this.#length += bytes;
    if (this.#length > this.#buffer.length) {
      const larger = Buffer.allocUnsafe(Math.max(this.#length, this.#buffer.length * 2));
      this.#buffer.copy(larger, 0, 0, offset);
      this.#buffer = larger;
    }
    return offset;
  }

  u8(value: number): void {
    const offset = this.#reserve(1);
    this.#buffer.writeUInt8(value, offset);
  }

  u16(value: number): void {
    const offset = this.#reserve(2);
    this.#buffer.writeUInt16BE(value, offset);
  }

  u32(value: number): void {
    const offset = this.#reserve(4);
    this.#buffer.writeUInt32BE(value, offset);
  }

  u48(value: number): void {
    const offset = this.#reserve(6);
    this.#buffer.writeUIntBE(value, offset, 6);
  }

  text8(value: string): void {
    this.u8(value.length);
    this.#latin1(value);
  }

  text16(value: string): void {
    this.u16(value.length);
    this.#latin1(value);
  }

  key(value: KeyHash): void {
    this.#latin1(value);
  }

  tag(tag: TagAge | undefined): void {
    this.u8(tag === undefined ? 0 : 1);
    if (tag === undefined) return;
    const offset = this.#reserve(KEY_BYTES + 6);
    this.#buffer.write(digestHex(tag.digest), offset, 'hex');
    this.#buffer.writeUIntBE(Math.min(Math.max(Math.round(tag.ageMs), 0), TAG_AGE_MS_MAX), offset + KEY_BYTES, 6);
  }

  #latin1(value: string): void {
    const offset = this.#reserve(value.length);
    this.#buffer.write(value, offset, 'latin1');
  }

  finish(): Uint8Array {
    this.#buffer.writeUInt32BE(this.#length - LENGTH_BYTES);
    return this.#buffer.subarray(0, this.#length);
  }
}

/** Reads within bounds, or throws ERR_SWARM_FRAME_INVALID. */
export class Reader {
  readonly #buffer: Buffer;
  #offset = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  #advance(bytes: number): number {
    const offset = this.#offset;
    this.#offset += bytes;
    if (this.#offset > this.#buffer.length) throw invalid('cut short');
    return offset;
  }

  u8(): number {
    return this.#buffer.readUInt8(this.#advance(1));
  }

  u16(): number {
    return this.#buffer.readUInt16BE(this.#advance(2));
  }

  u32(): number {
    return this.#buffer.readUInt32BE(this.#advance(4));
  }

  u48(): number {
    return this.#buffer.readUIntBE(this.#advance(6), 6);
  }

  count8(max: number): number {
    return checkCount(this.u8(), max);
  }

  count16(max: number): number {
    return checkCount(this.u16(), max);
  }

  list<T>(count: number, read: () => T): T[] {
    const items: T[] = [];
    for (let index = 0; index < count; index += 1) items.push(read());
    return items;
  }

  text(length: number): string {
    const offset = this.#advance(length);
    return this.#buffer.toString('latin1', offset, offset + length);
  }

  key(): KeyHash {
    return this.text(KEY_BYTES) as KeyHash;
  }

  tag(): TagAge | undefined {
    const mark = this.u8();
    if (mark === 0) return undefined;
    if (mark !== 1) throw invalid('tag mark');
    const offset = this.#advance(KEY_BYTES);
    const digest = parseDigest(`sha256:${this.#buffer.toString('hex', offset, offset + KEY_BYTES)}`) as Digest;
    const ageMs = this.u48();
    if (ageMs > TAG_AGE_MS_MAX) throw invalid(`age ${ageMs} ms`);
    return { digest, ageMs };
  }

  end(): void {
    if (this.#offset !== this.#buffer.length) throw invalid('trailing bytes');
  }
}

function checkCount(count: number, max: number): number {
  if (count > max) throw invalid(`count ${count}`);
  return count;
}

export function invalid(problem: string): MiroirError {
  return new MiroirError('ERR_SWARM_FRAME_INVALID', `swarm frame: ${problem}`);
}
