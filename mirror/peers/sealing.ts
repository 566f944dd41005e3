import { createCipheriv, createDecipheriv, hkdfSync } from 'node:crypto';

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
export const RECORD_TEXT_BYTES_MAX = 256 * 1024;
export const RECORD_TAG_BYTES = 16;

export const SEALING_NONCE_BYTES = 16;

const CIPHER = 'aes-128-gcm';
const KEY_BYTES = 16;
const IV_BYTES = 12;

/** Below the limit of RFC 8446, 5.5, for as many cipher blocks: 256 GiB in large records. Nobody keeps a connection so long. */
const RECORDS_MAX = 2 ** 20;

/** One direction's key: `KEY_BYTES` and `IV_BYTES`. */
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
    Buffer.from(hkdfSync('sha256', secret, salt, `miroir sealed/1 ${role}`, KEY_BYTES + IV_BYTES));
  return { client: derive('client'), server: derive('server') };
}

/** Seals a text of at most `RECORD_TEXT_BYTES_MAX`: a record in its parts, each in memory of its own. */
export type Seal = (text: Uint8Array) => readonly [header: Buffer, sealed: Buffer, tag: Buffer];

export function createSealer(key: DirectionKey): Seal {
  const nonces = createNonces(key);
  return (text) => {
    const header = Buffer.allocUnsafe(RECORD_HEADER_BYTES);
    header.writeUInt32BE(text.length);
    const cipher = createCipheriv(CIPHER, key.subarray(0, KEY_BYTES), nonces()).setAAD(header);
    const sealed = cipher.update(text);
    cipher.final();
    return [header, sealed, cipher.getAuthTag()];
  };
}

/** How many bytes follow a header; undefined when it announces more than a record may hold, or nothing. */
export function recordBytes(header: Uint8Array, textBytesMax = RECORD_TEXT_BYTES_MAX): number | undefined {
  const text = Buffer.from(header.buffer, header.byteOffset, RECORD_HEADER_BYTES).readUInt32BE();
  return text > 0 && text <= textBytesMax ? text + RECORD_TAG_BYTES : undefined;
}

/** Opens what followed a header: the text in memory of its own, or undefined when it is not what the other end sealed. */
export type Open = (header: Uint8Array, record: Uint8Array) => Buffer | undefined;

export function createOpener(key: DirectionKey): Open {
  const nonces = createNonces(key);
  return (header, record) => {
    const end = record.length - RECORD_TAG_BYTES;
    const decipher = createDecipheriv(CIPHER, key.subarray(0, KEY_BYTES), nonces(), { authTagLength: RECORD_TAG_BYTES })
      .setAAD(header)
      .setAuthTag(record.subarray(end));
    const text = decipher.update(record.subarray(0, end));
    try {
      decipher.final();
    } catch {
      return undefined;
    }
    return text;
  };
}

function createNonces(key: DirectionKey): () => Buffer {
  let count = 0;
  return () => {
    if (count >= RECORDS_MAX) throw new Error('a sealed connection has sent all that its key allows');
    const nonce = Buffer.from(key.subarray(KEY_BYTES));
    nonce.writeUInt32BE((nonce.readUInt32BE(IV_BYTES - 4) ^ count) >>> 0, IV_BYTES - 4);
    count += 1;
    return nonce;
  };
}
