import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { MiroirError } from '../../common/errors.ts';
import type { Records } from './records.ts';
import {
  createOpener,
  createSealer,
  deriveSealingKeys,
  type Open,
  RECORD_HEADER_BYTES,
  RECORD_TEXT_BYTES_MAX,
  recordBytes,
  recordLength,
  SEALING_NONCE_BYTES,
  type Seal,
} from './sealing.ts';
import { HELLO, SESSION_ID_BYTES, type Sessions } from './sessions.ts';

/** Requests are small: a client that seals more at once is none of ours. */
const REQUEST_TEXT_BYTES_MAX = 16 * 1024;

export interface AcceptSealedDeps {
  readonly sessions: Sessions;
  readonly records: Records;
}

/**
 * The server's side of a sealed connection (see sessions.ts): resolves with what HTTP reads and writes, or with `tls` for a
 * connection that begins otherwise, with nothing taken from it, or `forgotten` when there is no such session, which its client
 * then begins anew. Throws ERR_PEER_MISBEHAVED or ERR_PEER_UNAVAILABLE.
 */
export async function acceptSealed(
  socket: Socket,
  { sessions, records }: AcceptSealedDeps,
  timeoutMs: number,
): Promise<Duplex | 'tls' | 'forgotten'> {
  const helloBytes = HELLO.length + SESSION_ID_BYTES + SEALING_NONCE_BYTES;
  const hello = await readHello(socket, helloBytes, timeoutMs);
  if (hello === 'tls') return hello;
  const id = hello.subarray(HELLO.length, HELLO.length + SESSION_ID_BYTES);
  const secret = sessions.secretOf(id);
  if (secret === undefined) return 'forgotten';
  const nonce = randomBytes(SEALING_NONCE_BYTES);
  const keys = deriveSealingKeys(secret, hello.subarray(helloBytes - SEALING_NONCE_BYTES), nonce);
  socket.write(nonce);
  return createSealedStream(socket, {
    records,
    seal: createSealer(records.cipher, keys.server),
    open: createOpener(records.cipher, keys.client),
  });
}

/** Reads a hello and no further; what is none is put back. */
function readHello(socket: Socket, byteCount: number, timeoutMs: number): Promise<Buffer | 'tls'> {
  return new Promise((resolve, reject) => {
    const lost = () => stop(new MiroirError('ERR_PEER_UNAVAILABLE', 'the client left, or took too long'));
    const timer = setTimeout(lost, timeoutMs);
    const stop = (outcome: Buffer | 'tls' | Error) => {
      clearTimeout(timer);
      socket.off('readable', read).off('close', lost).off('end', lost).off('error', lost);
      if (outcome instanceof Error) reject(outcome);
      else resolve(outcome);
    };
    let first: number | undefined;
    const read = () => {
      if (first === undefined) {
        const start: Buffer | null = socket.read();
        if (start === null) return;
        socket.unshift(start);
        first = start[0];
      }
      if (first !== HELLO[0]) return stop('tls');
      const hello: Buffer | null = socket.read(byteCount);
      if (hello === null) return;
      if (hello.indexOf(HELLO) === 0 && hello.length === byteCount) return stop(hello);
      stop(new MiroirError('ERR_PEER_MISBEHAVED', 'the client speaks another protocol'));
    };
    socket.on('readable', read).once('close', lost).once('end', lost).once('error', lost);
    read();
  });
}

/** What is written into it is sealed on `socket`; what is read was opened. It ends, and breaks, with the socket. */
function createSealedStream(
  socket: Socket,
  { records, seal, open }: { readonly records: Records; readonly seal: Seal; readonly open: Open },
): Duplex {
  let received: Buffer = Buffer.alloc(0);
  const take = (bytes: Buffer) => {
    received = received.length === 0 ? bytes : Buffer.concat([received, bytes]);
    while (received.length >= RECORD_HEADER_BYTES) {
      const header = received.subarray(0, RECORD_HEADER_BYTES);
      const byteCount = recordBytes(header, REQUEST_TEXT_BYTES_MAX);
      if (byteCount === undefined) return void stream.destroy(misbehaved('a record is too long'));
      const end = RECORD_HEADER_BYTES + byteCount;
      if (received.length < end) return;
      const text = open(header, received.subarray(RECORD_HEADER_BYTES, end));
      if (text === undefined) return void stream.destroy(misbehaved('a record is not sealed by the other end'));
      received = received.subarray(end);
      if (!stream.push(text)) socket.pause();
    }
  };
  const stream = new Duplex({
    read: () => {
      socket.resume();
    },
    write: (bytes: Buffer, _encoding, written) => {
      if (bytes.length === 0) return written();
      socket.cork();
      for (let start = 0; start < bytes.length; start += RECORD_TEXT_BYTES_MAX) {
        const end = Math.min(bytes.length, start + RECORD_TEXT_BYTES_MAX);
        const { bytes: record, give } = records.lend(recordLength(end - start));
        try {
          seal(bytes.subarray(start, end), record);
        } catch (error) {
          written(error as Error);
          break;
        }
        socket.write(record, (error) => {
          give();
          if (end === bytes.length) written(error);
        });
      }
      socket.uncork();
    },
    final: (done) => {
      socket.end(done);
    },
    destroy: (error, done) => {
      socket.destroy();
      done(error);
    },
  });
  socket.on('data', take);
  socket.once('end', () => stream.push(null));
  socket.on('error', (error) => stream.destroy(error));
  socket.once('close', () => stream.destroy());
  socket.on('timeout', () => stream.emit('timeout'));
  // What HTTP expects of a socket: who is on the other end, and an end to connections that nobody uses.
  return Object.assign(stream, {
    remoteAddress: socket.remoteAddress,
    setTimeout: (ms: number) => {
      socket.setTimeout(ms);
      return stream;
    },
  });
}

function misbehaved(message: string): MiroirError {
  return new MiroirError('ERR_PEER_MISBEHAVED', message);
}
