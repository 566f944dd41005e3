import { hkdfSync } from 'node:crypto';
import { CIPHER_KEY_BYTES, CIPHER_NONCE_BYTES, CIPHER_TAG_BYTES, type RecordCipher } from './record-cipher.ts';

/**
 * What a sealed connection carries: records of AES-128-GCM, as TLS 1.3 has them, only larger. TLS allows 16 KiB a record
 * and Node's hands over one at a time, which costs a relay twice the CPU of the cipher itself.
 *
 *     length of the text, 4 bytes, big endian | the text, sealed | tag, 16 bytes
 *
 * Each direction has its own key; the nonce is the record's number, so that none can be left out, repeated or moved; the
 * length is authenticated with the text.
 */
export const RECORD_HEADER_BYTES = 4;
export const RECORD_TEXT_BYTES_MAX = 512 * 1024;
export const RECORD_TAG_BYTES = CIPHER_TAG_BYTES;

export const SEALING_NONCE_BYTES = 16;

/** Below the limit of RFC 8446, 5.5, for as many blocks of the cipher: 256 GiB. Clients leave a connection sooner (`client.ts`). */
const BLOCKS_MAX = 2 ** 34;
const BLOCK_BYTES = 16;
/** The header, and the block that the tag is made of. */
const BLOCKS_A_RECORD = 2;
/** A nonce has room for so many numbers. */
const RECORDS_MAX = 2 ** 32;

/** One direction's key, and what its nonces are made of. */
type DirectionKey = Uint8Array;

export interface SealingKeys {
  /** For what the client sends. */
  readonly client: DirectionKey;
  readonly server: DirectionKey;
}

/** The keys of one connection: both ends put a nonce in, so that nothing that was recorded can be played again. */
export function deriveSealingKeys(secret: Uint8Array, clientNonce: Uint8Array, serverNonce: Uint8Array): SealingKeys {
  const salt = Buffer.concat([clientNonce, serverNonce]);
  const derive = (role: string) =>
    Buffer.from(hkdfSync('sha256', secret, salt, `miroir sealed/1 ${role}`, CIPHER_KEY_BYTES + CIPHER_NONCE_BYTES));
  return { client: derive('client'), server: derive('server') };
}

/** How long the record of a text is. */
export function recordLength(textBytes: number): number {
  return RECORD_HEADER_BYTES + textBytes + RECORD_TAG_BYTES;
}

/**
 * Seals a text of at most `RECORD_TEXT_BYTES_MAX` into a record of `recordLength`, in other memory than the text's. Throws when
 * the key has sealed all that it may.
 */
export type Seal = (text: Uint8Array, record: Uint8Array) => void;

export function createSealer(cipher: RecordCipher, directionKey: DirectionKey, blocksMax = BLOCKS_MAX): Seal {
  const { key, nextNonce } = splitKey(directionKey, blocksMax);
  return (text, record) => {
    const header = record.subarray(0, RECORD_HEADER_BYTES);
    new DataView(header.buffer, header.byteOffset).setUint32(0, text.length);
    const nonce = nextNonce(text.length);
    if (nonce === undefined) throw new Error('a sealed connection has sent all that its key allows');
    cipher.seal({ key, nonce, header }, text, record.subarray(RECORD_HEADER_BYTES));
  };
}

/** How many bytes follow a header; undefined when it announces more than a record may hold, or nothing. */
export function recordBytes(header: Uint8Array, textBytesMax = RECORD_TEXT_BYTES_MAX): number | undefined {
  const text = new DataView(header.buffer, header.byteOffset).getUint32(0);
  return text > 0 && text <= textBytesMax ? text + RECORD_TAG_BYTES : undefined;
}

/** Opens what followed a header, where it is: the text, or undefined when it is not what the other end sealed, or more than it may. */
export type Open = (header: Uint8Array, sealed: Uint8Array) => Uint8Array | undefined;

export function createOpener(cipher: RecordCipher, directionKey: DirectionKey, blocksMax = BLOCKS_MAX): Open {
  const { key, nextNonce } = splitKey(directionKey, blocksMax);
  return (header, sealed) => {
    const nonce = nextNonce(sealed.length - RECORD_TAG_BYTES);
    return nonce && cipher.open({ key, nonce, header }, sealed);
  };
}

interface SplitKey {
  readonly key: Uint8Array;
  /** For a record of a text so long; undefined when the key is used up. */
  readonly nextNonce: (textBytes: number) => Uint8Array | undefined;
}

function splitKey(directionKey: DirectionKey, blocksMax: number): SplitKey {
  const first = directionKey.subarray(CIPHER_KEY_BYTES);
  let count = 0;
  let blockCount = 0;
  const nextNonce = (textBytes: number) => {
    blockCount += Math.ceil(textBytes / BLOCK_BYTES) + BLOCKS_A_RECORD;
    if (blockCount > blocksMax || count >= RECORDS_MAX) return undefined;
    const nonce = Buffer.from(first);
    nonce.writeUInt32BE((nonce.readUInt32BE(CIPHER_NONCE_BYTES - 4) ^ count) >>> 0, CIPHER_NONCE_BYTES - 4);
    count += 1;
    return nonce;
  };
  return { key: directionKey.subarray(0, CIPHER_KEY_BYTES), nextNonce };
}
