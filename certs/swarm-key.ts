import { createHash, hkdfSync } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { MiroirError } from '../common/errors.ts';

/** The secret that the members of a swarm share, and by which they know each other. */
export interface SwarmKey {
  /** Names the key in logs and on the wire without telling anything about it: 16 hex digits. */
  readonly id: string;
  /** 32 bytes. Never sent, logged or used as it is: `deriveKey` makes what protocols use. */
  readonly secret: Uint8Array;
}

/** What a subkey is for. One that leaks, or breaks with its protocol, tells nothing about the other. */
export type SwarmKeyPurpose = 'swarm' | 'peers';

/** A rotation needs two keys at a time; the rest is room for one that was cut short. Every key is tried on a new connection. */
const KEYS_MAX = 4;

const KEY_BYTES = 32;
const KEY_LINE = /^[0-9a-fA-F]{64}$/;
const KEY_ID_DIGITS = 16;
const HOW_TO_MAKE_ONE = 'make one with: openssl rand -hex 32';

/** Throws ERR_SWARM_KEY_INVALID as `parseSwarmKeys` does, also for a file that cannot be read. */
export async function readSwarmKeys(file: string): Promise<SwarmKey[]> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    throw invalid(code === 'ENOENT' ? `it is not there (${HOW_TO_MAKE_ONE} > ${file})` : message, file, { cause });
  }
  return parseSwarmKeys(text, file);
}

/**
 * Parses the text of a swarm key file: one key a line as 64 hex digits, `#` comments and blank lines. The first key is
 * the one in use; the others are still accepted, so that a rotation can pass through the swarm node by node.
 *
 * Throws ERR_SWARM_KEY_INVALID, which names the file and the line and never shows what is on it.
 */
export function parseSwarmKeys(text: string, file = ''): SwarmKey[] {
  const keys: SwarmKey[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const content = line.replace(/#.*/s, '').trim();
    if (content === '') continue;
    if (!KEY_LINE.test(content)) {
      throw invalid(`line ${index + 1} is not a key: a key is 64 hex digits (${HOW_TO_MAKE_ONE})`, file);
    }
    const key = createSwarmKey(Buffer.from(content, 'hex'));
    if (keys.some(({ id }) => id === key.id)) throw invalid(`line ${index + 1} repeats a key: remove it`, file);
    if (keys.length === KEYS_MAX)
      throw invalid(`line ${index + 1} is one key too many: keep at most ${KEYS_MAX}`, file);
    keys.push(key);
  }
  if (keys.length === 0) throw invalid(`there is no key (${HOW_TO_MAKE_ONE})`, file);
  return keys;
}

/** A subkey of 32 bytes, by HKDF-SHA256 (RFC 5869). */
export function deriveKey(key: SwarmKey, purpose: SwarmKeyPurpose): Uint8Array {
  return new Uint8Array(hkdfSync('sha256', key.secret, '', `miroir/1/${purpose}`, KEY_BYTES));
}

function createSwarmKey(secret: Buffer): SwarmKey {
  const id = createHash('sha256').update('miroir swarm key id\n').update(secret).digest('hex').slice(0, KEY_ID_DIGITS);
  // Not enumerable: a key that ends up in a log line or an error's fields shows its id alone.
  return Object.defineProperty({ id } as SwarmKey, 'secret', { value: new Uint8Array(secret) });
}

function invalid(problem: string, file: string, options?: ErrorOptions): MiroirError {
  return new MiroirError('ERR_SWARM_KEY_INVALID', `swarm key file${file && ` ${file}`}: ${problem}`, options);
}
