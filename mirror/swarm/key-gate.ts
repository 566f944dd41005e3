import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { noise } from '@chainsafe/libp2p-noise';
import type { ConnectionEncrypter, ConnectionProtector, MessageStream } from '@libp2p/interface';
import { byteStream } from '@libp2p/utils';
import { deriveKey, type SwarmKey } from '../../certs/swarm-key.ts';
import { MiroirError } from '../../common/errors.ts';

/*
 * How members prove the swarm key, before anything else is said.
 *
 * 1. Who dials sends a token first: a nonce and its HMAC under the key in use. Who listens says nothing, not even a
 *    byte, until a token fits one of its keys, and closes the connection when none does. The token may be a replay: it
 *    only keeps strangers from the handshake behind it.
 * 2. The handshake (noise XX) has a secret made from that key as its prologue, which both sides hash into all they
 *    authenticate: whoever does not know the key cannot complete it, in either role, nor stand in the middle of it.
 *
 * libp2p's own protector (@libp2p/pnet) takes one key, which rules out a rotation without an outage; answers a stranger
 * with its nonce; and encrypts without authenticating.
 */

const NONCE_BYTES = 16;
const MAC_BYTES = 32;
const TOKEN_BYTES = NONCE_BYTES + MAC_BYTES;

type NoiseComponents = Parameters<ReturnType<typeof noise>>[0];

export interface KeyGate {
  readonly protector: () => ConnectionProtector;
  readonly encrypter: (components: NoiseComponents) => ConnectionEncrypter;
}

interface KeyGateDeps {
  /** Called for each connection that proved none of the keys. */
  readonly onRefused: () => void;
}

interface KeyGateOptions {
  /** The first is proven when dialing; any is accepted. At least one. */
  readonly keys: readonly SwarmKey[];
}

export function createKeyGate({ onRefused }: KeyGateDeps, { keys }: KeyGateOptions): KeyGate {
  const secrets = keys.map((key) => deriveKey(key, 'swarm'));
  /** Which key a connection was let in with, for the handshake that follows. */
  const provenKeys = new WeakMap<MessageStream, number>();

  const dial = (stream: MessageStream): MessageStream => {
    stream.send(createToken(secrets[0] as Uint8Array));
    provenKeys.set(stream, 0);
    return sendWhole(stream);
  };

  const accept = async (stream: MessageStream, signal: AbortSignal | undefined): Promise<MessageStream> => {
    const bytes = byteStream(stream);
    const token = (await bytes.read({ bytes: TOKEN_BYTES, ...(signal !== undefined && { signal }) })).subarray();
    const index = secrets.findIndex((secret) => isToken(secret, token));
    if (index < 0) {
      onRefused();
      const error = new MiroirError('ERR_PEER_MISBEHAVED', 'a connection to the swarm proved none of its keys');
      stream.abort(error);
      throw error;
    }
    provenKeys.set(stream, index);
    return sendWhole(bytes.unwrap());
  };

  return {
    protector: () => ({
      protect: async (stream, options) =>
        stream.direction === 'outbound' ? dial(stream) : accept(stream, options?.signal),
    }),
    encrypter: (components) => {
      const noises = secrets.map((secret) => noise({ prologueBytes: mac(secret, 'noise prologue') })(components));
      const noiseOf = (stream: MessageStream) => {
        const index = provenKeys.get(stream);
        // The handshake must not go on without a key, whatever way a connection took.
        if (index === undefined) throw new MiroirError('ERR_PEER_MISBEHAVED', 'a connection without a swarm key');
        return noises[index] as ConnectionEncrypter;
      };
      return {
        protocol: '/noise',
        secureOutbound: async (stream, options) => noiseOf(stream).secureOutbound(stream, options),
        secureInbound: async (stream, options) => noiseOf(stream).secureInbound(stream, options),
      };
    },
  };
}

/** Frames are short and come down here in pieces, each of which would be a system call and a packet of its own. */
function sendWhole(stream: MessageStream): MessageStream {
  const send = stream.send.bind(stream);
  stream.send = (data) => send(data.subarray());
  return stream;
}

function createToken(secret: Uint8Array): Uint8Array {
  const nonce = randomBytes(NONCE_BYTES);
  return Buffer.concat([nonce, mac(secret, nonce)]);
}

function isToken(secret: Uint8Array, token: Uint8Array): boolean {
  return timingSafeEqual(mac(secret, token.subarray(0, NONCE_BYTES)), token.subarray(NONCE_BYTES));
}

function mac(secret: Uint8Array, data: Uint8Array | string): Buffer {
  return createHmac('sha256', secret).update(data).digest();
}
