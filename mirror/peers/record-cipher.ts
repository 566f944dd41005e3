import { createCipheriv, createDecipheriv } from 'node:crypto';
import { openNative } from '../../common/native.ts';

export const CIPHER_KEY_BYTES = 16;
export const CIPHER_NONCE_BYTES = 12;
export const CIPHER_TAG_BYTES = 16;

/** What one record is sealed with. */
export interface RecordSecret {
  readonly key: Uint8Array;
  /** Never the same twice under one key. */
  readonly nonce: Uint8Array;
  /** Authenticated with the text. */
  readonly header: Uint8Array;
}

/** AES-128-GCM in memory that the caller has. A sealed text has its tag behind it. */
export interface RecordCipher {
  /** Whether OpenSSL itself is called: about a quarter of the time that Node's cipher takes. */
  readonly isNative: boolean;
  /** Seals a text into `sealed`, which is as long as the text and its tag and shares no memory with it. */
  seal(secret: RecordSecret, text: Uint8Array, sealed: Uint8Array): void;
  /** Opens what was sealed where it is: the text, in the same memory; undefined when it is not what was sealed. */
  open(secret: RecordSecret, sealed: Uint8Array): Uint8Array | undefined;
}

/** OpenSSL itself where it can be called, as Node's cipher has no way to write into memory that is there. */
export function createRecordCipher(): RecordCipher {
  return createNativeCipher() ?? createNodeCipher();
}

export function createNodeCipher(): RecordCipher {
  const algorithm = 'aes-128-gcm';
  return {
    isNative: false,
    seal: ({ key, nonce, header }, text, sealed) => {
      const cipher = createCipheriv(algorithm, key, nonce).setAAD(header);
      sealed.set(cipher.update(text));
      cipher.final();
      sealed.set(cipher.getAuthTag(), text.length);
    },
    open: ({ key, nonce, header }, sealed) => {
      const end = sealed.length - CIPHER_TAG_BYTES;
      const decipher = createDecipheriv(algorithm, key, nonce, { authTagLength: CIPHER_TAG_BYTES })
        .setAAD(header)
        .setAuthTag(sealed.subarray(end));
      const text = decipher.update(sealed.subarray(0, end));
      try {
        decipher.final();
      } catch {
        return undefined;
      }
      sealed.set(text);
      return sealed.subarray(0, end);
    },
  };
}

/** openssl/evp.h */
const EVP_CTRL_AEAD_GET_TAG = 0x10;
const EVP_CTRL_AEAD_SET_TAG = 0x11;

const EVP_FUNCTIONS = {
  EVP_aes_128_gcm: { arguments: [], return: 'pointer' },
  EVP_CIPHER_CTX_new: { arguments: [], return: 'pointer' },
  EVP_CIPHER_CTX_ctrl: { arguments: ['pointer', 'i32', 'i32', 'pointer'], return: 'i32' },
  EVP_CipherInit_ex: { arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'pointer', 'i32'], return: 'i32' },
  EVP_CipherUpdate: { arguments: ['pointer', 'pointer', 'pointer', 'pointer', 'i32'], return: 'i32' },
  EVP_CipherFinal_ex: { arguments: ['pointer', 'pointer', 'pointer'], return: 'i32' },
} as const;

/** Undefined where OpenSSL's functions cannot be called. */
export function createNativeCipher(): RecordCipher | undefined {
  const evp = openNative(EVP_FUNCTIONS)?.functions;
  if (evp === undefined) return undefined;
  const algorithm = evp.EVP_aes_128_gcm();
  // One for all connections, and for as long as the process: each record begins it anew, and no two records are sealed at once.
  const context = evp.EVP_CIPHER_CTX_new();
  if (algorithm === 0n || context === 0n) return undefined;
  /** Where OpenSSL says how much it wrote, which is known. */
  const written = Buffer.alloc(4);
  /** GCM has nothing left to write at the end. */
  const nothing = Buffer.alloc(CIPHER_TAG_BYTES);

  const begin = ({ key, nonce, header }: RecordSecret, isSealing: boolean): boolean =>
    evp.EVP_CipherInit_ex(context, algorithm, null, key, nonce, isSealing ? 1 : 0) === 1 &&
    evp.EVP_CipherUpdate(context, null, written, header, header.length) === 1;

  const work = (from: Uint8Array, to: Uint8Array): boolean =>
    evp.EVP_CipherUpdate(context, to, written, from, from.length) === 1;

  const control = (what: number, tag: Uint8Array): boolean =>
    evp.EVP_CIPHER_CTX_ctrl(context, what, CIPHER_TAG_BYTES, tag) === 1;

  const end = (): boolean => evp.EVP_CipherFinal_ex(context, nothing, written) === 1;

  return {
    isNative: true,
    seal: (secret, text, sealed) => {
      const tag = sealed.subarray(text.length);
      const isSealed = begin(secret, true) && work(text, sealed) && end() && control(EVP_CTRL_AEAD_GET_TAG, tag);
      if (!isSealed) throw new Error('OpenSSL sealed nothing');
    },
    open: (secret, sealed) => {
      const text = sealed.subarray(0, sealed.length - CIPHER_TAG_BYTES);
      const tag = sealed.subarray(text.length);
      const isOpen = begin(secret, false) && control(EVP_CTRL_AEAD_SET_TAG, tag) && work(text, text) && end();
      return isOpen ? text : undefined;
    },
  };
}
