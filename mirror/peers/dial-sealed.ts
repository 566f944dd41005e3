import { randomBytes } from 'node:crypto';
import net from 'node:net';
import tls from 'node:tls';
import { MiroirError } from '../../common/errors.ts';
import { formatHostPort, type HostPort } from '../../common/host-port.ts';
import { inOwnMemory } from '../../common/own-memory.ts';
import type { PeerReader, PeerSocket } from './connection.ts';
import { firstOf, ready } from './ready.ts';
import { createRecordReader } from './record-reader.ts';
import type { Records } from './records.ts';
import { createOpener, createSealer, deriveSealingKeys, recordLength, SEALING_NONCE_BYTES } from './sealing.ts';
import { exportSecret, HELLO, SESSION_ID_BYTES, SESSION_PROTOCOL } from './sessions.ts';

/** TLS 1.3 with an external pre-shared key: no certificates, forward secrecy all the same. */
export const TLS_OPTIONS = {
  minVersion: 'TLSv1.3',
  maxVersion: 'TLSv1.3',
  ciphers: 'TLS_AES_128_GCM_SHA256',
} as const;

/** As many peers as one node may be talking to within an hour; forgotten ones only cost another handshake. */
const SESSIONS_MAX = 1024;

export interface SealedDialOptions {
  readonly identity: string;
  readonly key: Uint8Array;
  /** For the session, and again for the connection. */
  readonly timeoutMs: number;
}

interface Session {
  readonly id: Uint8Array;
  readonly secret: Buffer;
}

type SealedDial = (target: HostPort, reader: PeerReader, signal: AbortSignal) => Promise<PeerSocket>;

/** The client's side of sealed connections (see sessions.ts). A session with a peer serves all connections to it. */
export function createSealedDial(records: Records, options: SealedDialOptions): SealedDial {
  const sessions = new Map<string, Session>();

  const begin = async (target: HostPort, signal: AbortSignal): Promise<Session> => {
    const session = await agree(target, options, signal);
    const [oldest] = sessions.keys();
    if (sessions.size >= SESSIONS_MAX) sessions.delete(oldest as string);
    sessions.set(formatHostPort(target), session);
    return session;
  };

  const connect = (session: Session, target: HostPort, reader: PeerReader, signal: AbortSignal) =>
    openConnection({ records, timeoutMs: options.timeoutMs }, session, target, reader, signal);

  return async (target, reader, signal) => {
    const known = sessions.get(formatHostPort(target));
    if (known === undefined) return connect(await begin(target, signal), target, reader, signal);
    try {
      return await connect(known, target, reader, signal);
    } catch (error) {
      // It may have been started again, or was there for an hour.
      if (signal.aborted) throw error;
      if (sessions.get(formatHostPort(target)) === known) sessions.delete(formatHostPort(target));
      return connect(await begin(target, signal), target, reader, signal);
    }
  };
}

async function agree(target: HostPort, options: SealedDialOptions, signal: AbortSignal): Promise<Session> {
  const socket = tls.connect({
    ...target,
    ...TLS_OPTIONS,
    ALPNProtocols: [SESSION_PROTOCOL],
    pskCallback: () => ({ psk: options.key, identity: options.identity }),
    // Only asked about a certificate: then the key was not used, and the other end proved nothing.
    checkServerIdentity: () => new Error('the peer did not use the swarm key'),
  });
  try {
    await ready(socket, 'secureConnect', options.timeoutMs, signal);
    if (socket.alpnProtocol !== SESSION_PROTOCOL) throw unavailable('the peer speaks another protocol');
    const secret = exportSecret(socket);
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(options.timeoutMs)]);
    const id = await firstOf(socket, readBytes(socket, SESSION_ID_BYTES), deadline);
    return { id: inOwnMemory(id), secret };
  } finally {
    socket.destroy();
  }
}

function readBytes(socket: net.Socket, byteCount: number): Promise<Buffer> {
  return new Promise((resolve) => {
    const read = () => {
      const bytes: Buffer | null = socket.read(byteCount);
      if (bytes?.length !== byteCount) return;
      socket.off('readable', read);
      resolve(bytes);
    };
    socket.on('readable', read);
  });
}

async function openConnection(
  { records, timeoutMs }: { readonly records: Records; readonly timeoutMs: number },
  { id, secret }: Session,
  target: HostPort,
  reader: PeerReader,
  signal: AbortSignal,
): Promise<PeerSocket> {
  const clientNonce = randomBytes(SEALING_NONCE_BYTES);
  const greeted = Promise.withResolvers<Buffer>();
  const incoming = createRecordReader(records, SEALING_NONCE_BYTES, {
    first: greeted.resolve,
    text: (bytes, give) => reader.take(bytes, give),
    progress: (byteCount) => reader.progress(byteCount),
    broken: (problem) => socket.destroy(new Error(problem)),
  });
  const socket = net.connect({ ...target, noDelay: true, onread: incoming.onread });
  await ready(socket, 'connect', timeoutMs, signal);
  socket.write(Buffer.concat([HELLO, id, clientNonce]));
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]);
  const keys = deriveSealingKeys(secret, clientNonce, await firstOf(socket, greeted.promise, deadline));
  incoming.open(createOpener(records.cipher, keys.server));
  const seal = createSealer(records.cipher, keys.client);
  return {
    write: (text) => {
      const bytes = Buffer.from(text);
      const record = Buffer.alloc(recordLength(bytes.length));
      seal(bytes, record);
      socket.write(record);
    },
    resume: () => socket.resume(),
    destroy: () => socket.destroy(),
    on: (event, listener) => socket.on(event, listener),
  };
}

function unavailable(message: string): MiroirError {
  return new MiroirError('ERR_PEER_UNAVAILABLE', message);
}
