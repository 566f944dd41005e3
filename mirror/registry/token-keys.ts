import { createLocalJWKSet } from 'jose';
import type { Logger } from '../../common/log.ts';

export interface TokenKeysDeps {
  readonly readFile: (path: string) => Promise<string>;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** By what the tokens of a cluster are known. */
export interface TokenIssuer {
  readonly issuer: string;
  readonly keys: ReturnType<typeof createLocalJWKSet>;
}

export interface TokenKeys {
  /** Undefined while nobody has said. What was read last stays when the file goes, or becomes something else. */
  current(): Promise<TokenIssuer | undefined>;
}

/** A mounted ConfigMap is swapped within a minute of its change: looking this often costs nothing beside that. */
const LOOK_MS = 10_000;
/** A ConfigMap holds no more. */
const FILE_CHARS_MAX = 1024 * 1024;

/** The issuer and the public keys (RFC 7517) of a cluster's tokens, from the file that the webhook keeps: `{"issuer":..,"keys":[..]}`. */
export function createTokenKeys({ readFile, log, now }: TokenKeysDeps, path: string): TokenKeys {
  let known: TokenIssuer | undefined;
  let text: string | undefined;
  let lookedAt = Number.NEGATIVE_INFINITY;
  let looking = Promise.resolve();

  async function look(): Promise<void> {
    try {
      const next = await readFile(path);
      if (next === text) return;
      known = parseIssuer(next);
      text = next;
      log.info('The keys of the tokens of pods were read', { issuer: known.issuer });
    } catch (error) {
      log.warn('The keys of the tokens of pods cannot be read: agents in pods go to registries', { path, error });
    }
  }

  return {
    current: async () => {
      if (now() - lookedAt >= LOOK_MS) {
        lookedAt = now();
        looking = look();
      }
      await looking;
      return known;
    },
  };
}

function parseIssuer(text: string): TokenIssuer {
  if (text.length > FILE_CHARS_MAX) throw new Error('it is too large');
  const { issuer, keys } = JSON.parse(text) as { readonly issuer?: unknown; readonly keys?: unknown };
  if (typeof issuer !== 'string' || issuer === '' || !Array.isArray(keys)) throw new Error('it is no issuer with keys');
  return { issuer, keys: createLocalJWKSet({ keys }) };
}
