import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { deriveKey, type SwarmKey } from '../../certs/swarm-key.ts';

/** How a key is named to the other side: in TLS as the PSK identity, in plain text in the client's first line. */
export function keyIdentity(key: SwarmKey): string {
  return `miroir/1/${key.id}`;
}

/** The keys of this node's peer protocol by their identity. The first swarm key is the one to connect with. */
export function peerKeys(keys: readonly SwarmKey[]): ReadonlyMap<string, Uint8Array> {
  return new Map(keys.map((key) => [keyIdentity(key), deriveKey(key, 'peers')]));
}

/**
 * How members prove the key to each other on a connection that is not TLS, because the network encrypts already:
 *
 *     client: <identity> <client nonce>\n
 *     server: <server nonce> <server proof>\n
 *     client: <client proof>\n and then HTTP
 *
 * A proof is an HMAC over both nonces, so it is of no use on another connection, and no clock is in it: nodes may
 * disagree about the time. It proves who is on the other end, and leaves keeping others off the wire to the network.
 */
export const PROOF_LINE_BYTES_MAX = 128;

export function createNonce(): string {
  return randomBytes(16).toString('hex');
}

export interface Nonces {
  readonly client: string;
  readonly server: string;
}

export function prove(key: Uint8Array, role: 'client' | 'server', nonces: Nonces): string {
  return createHmac('sha256', key).update(`miroir/1 ${role} ${nonces.client} ${nonces.server}`).digest('hex');
}

export function isProof(text: string, key: Uint8Array, role: 'client' | 'server', nonces: Nonces): boolean {
  const expected = Buffer.from(prove(key, role, nonces));
  const actual = Buffer.from(text);
  return actual.length === expected.length && timingSafeEqual(actual, expected);
}

export function parseHello(line: string): { readonly identity: string; readonly nonce: string } | undefined {
  const match = /^(miroir\/1\/[0-9a-f]{16}) ([0-9a-f]{32})$/.exec(line);
  return match === null ? undefined : { identity: match[1] as string, nonce: match[2] as string };
}

export function parseChallenge(line: string): { readonly nonce: string; readonly proof: string } | undefined {
  const match = /^([0-9a-f]{32}) ([0-9a-f]{64})$/.exec(line);
  return match === null ? undefined : { nonce: match[1] as string, proof: match[2] as string };
}
