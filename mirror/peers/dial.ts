import net from 'node:net';
import { MiroirError } from '../../common/errors.ts';
import { type HostPort, parseHostPort } from '../../common/host-port.ts';
import type { PeerReader, PeerSocket } from './connection.ts';
import { createSealedDial } from './dial-sealed.ts';
import { createNonce, isProof, PROOF_LINE_BYTES_MAX, parseChallenge, prove } from './proof.ts';
import { firstOf, ready } from './ready.ts';
import type { Records } from './records.ts';

export interface DialOptions {
  readonly identity: string;
  readonly key: Uint8Array;
  readonly encryption: 'on' | 'off';
  /** Until the peer has proven the key: a connection and two round trips within a cluster. */
  readonly timeoutMs: number;
}

/**
 * Connects a socket that reads into `reader`, whose other end has proven the swarm key. Throws ERR_PEER_UNAVAILABLE, or
 * ERR_ABORTED.
 */
export type Dial = (address: string, reader: PeerReader, signal: AbortSignal) => Promise<PeerSocket>;

export function createDial(records: Records, options: DialOptions): Dial {
  const dialSealed = createSealedDial(records, options);
  return async (address, reader, signal) => {
    const target = parsePeerAddress(address);
    if (target === undefined) throw new MiroirError('ERR_PEER_UNAVAILABLE', 'the peer has no valid address');
    return options.encryption === 'on'
      ? dialSealed(target, reader, signal)
      : dialPlain(target, options, reader.onread, signal);
  };
}

/** Addresses come from other members: a literal IP address and a port, nothing that would be looked up. */
function parsePeerAddress(address: string): HostPort | undefined {
  const target = parseHostPort(address);
  return target !== undefined && net.isIP(target.host) !== 0 ? target : undefined;
}

async function dialPlain(
  target: HostPort,
  options: DialOptions,
  onread: net.OnReadOpts,
  signal: AbortSignal,
): Promise<net.Socket> {
  const client = createNonce();
  // The challenge arrives through `onread` too, as a socket cannot change how it reads.
  let received = '';
  let answered: (line: string) => void = () => {};
  const challenge = new Promise<string>((resolve) => {
    answered = resolve;
  });
  let isProven = false;
  const socket = net.connect({
    ...target,
    noDelay: true,
    onread: {
      buffer: onread.buffer,
      callback: (byteCount, buffer) => {
        if (isProven) return onread.callback(byteCount, buffer);
        received += Buffer.from(buffer.buffer, buffer.byteOffset, byteCount).toString('latin1');
        if (received.length > PROOF_LINE_BYTES_MAX || received.endsWith('\n')) answered(received.slice(0, -1));
        return true;
      },
    },
  });
  try {
    await ready(socket, 'connect', options.timeoutMs, signal);
    socket.write(`${options.identity} ${client}\n`);
    const timeout = AbortSignal.timeout(options.timeoutMs);
    const line = await firstOf(socket, challenge, AbortSignal.any([signal, timeout]));
    const parsed = parseChallenge(line);
    const nonces = { client, server: parsed?.nonce ?? '' };
    if (parsed === undefined || !isProof(parsed.proof, options.key, 'server', nonces)) {
      throw new MiroirError('ERR_PEER_UNAVAILABLE', 'the peer did not prove the swarm key');
    }
    isProven = true;
    socket.write(`${prove(options.key, 'client', nonces)}\n`);
    return socket;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}
