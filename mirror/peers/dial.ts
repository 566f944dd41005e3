import net from 'node:net';
import tls from 'node:tls';
import { MiroirError } from '../../common/errors.ts';
import { type HostPort, parseHostPort } from '../../common/host-port.ts';
import { createNonce, isProof, PROOF_LINE_BYTES_MAX, parseChallenge, prove } from './proof.ts';

/** TLS 1.3 with an external pre-shared key: no certificates, forward secrecy all the same. */
export const TLS_OPTIONS = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256',
} as const;

export interface DialOptions {
  readonly identity: string;
  readonly key: Uint8Array;
  readonly encryption: 'on' | 'off';
  /** Until the peer has proven the key: a connection and two round trips within a cluster. */
  readonly timeoutMs: number;
}

/** How the socket reads once it is authenticated. */
export type OnRead = net.OnReadOpts;

/** A connected socket whose other end has proven the swarm key. Throws ERR_PEER_UNAVAILABLE, or ERR_ABORTED. */
export async function dial(
  address: string,
  options: DialOptions,
  onread: OnRead,
  signal: AbortSignal,
): Promise<net.Socket> {
  const target = parsePeerAddress(address);
  if (target === undefined) throw new MiroirError('ERR_PEER_UNAVAILABLE', 'the peer has no valid address');
  return options.encryption === 'on'
    ? dialTls(target, options, onread, signal)
    : dialPlain(target, options, onread, signal);
}

/** Addresses come from other members: a literal IP address and a port, nothing that would be looked up. */
function parsePeerAddress(address: string): HostPort | undefined {
  const target = parseHostPort(address);
  return target !== undefined && net.isIP(target.host) !== 0 ? target : undefined;
}

function dialTls(target: HostPort, options: DialOptions, onread: OnRead, signal: AbortSignal): Promise<tls.TLSSocket> {
  const socket = tls.connect({
    ...target,
    ...TLS_OPTIONS,
    onread,
    pskCallback: () => ({ psk: options.key, identity: options.identity }),
    // Only asked about a certificate: then the key was not used, and the other end proved nothing.
    checkServerIdentity: () => new Error('the peer did not use the swarm key'),
  } as tls.ConnectionOptions);
  socket.setNoDelay(true);
  return ready(socket, 'secureConnect', options.timeoutMs, signal);
}

async function dialPlain(
  target: HostPort,
  options: DialOptions,
  onread: OnRead,
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

/** Resolves at the event; destroys the socket and throws when it breaks, when time is up or when the signal aborts. */
function ready<S extends net.Socket>(socket: S, event: string, timeoutMs: number, signal: AbortSignal): Promise<S> {
  const happened = new Promise<S>((resolve) => {
    socket.once(event, () => resolve(socket));
  });
  return firstOf(socket, happened, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]));
}

async function firstOf<T>(socket: net.Socket, promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const cleanUp: Array<() => void> = [];
  const broken = new Promise<never>((_, reject) => {
    const lost = (cause?: unknown) =>
      reject(new MiroirError('ERR_PEER_UNAVAILABLE', 'the peer cannot be reached', { cause }));
    const closed = () => lost();
    const aborted = () => lost(signal.reason);
    socket.once('error', lost).once('close', closed);
    if (signal.aborted) aborted();
    signal.addEventListener('abort', aborted, { once: true });
    cleanUp.push(() => {
      socket.off('error', lost).off('close', closed);
      signal.removeEventListener('abort', aborted);
    });
  });
  try {
    return await Promise.race([promise, broken]);
  } catch (error) {
    socket.on('error', () => {}); // What comes after is of no interest: the socket is dropped.
    socket.destroy();
    throw error;
  } finally {
    for (const clean of cleanUp) clean();
  }
}
