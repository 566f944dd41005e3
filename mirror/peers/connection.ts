import { MiroirError } from '../../common/errors.ts';
import type { BufferPool } from '../transfer/buffer-pool.ts';
import type { BodyReceiver } from '../transfer/peer-client.ts';
import { createProgress, WINDOW_PARTS } from './progress.ts';
import { parseResponseHead, RESPONSE_HEAD_BYTES_MAX, type ResponseHead } from './response-head.ts';
import { createSlabs, type Slabs } from './slabs.ts';

/** Heads are read into this, and what comes when it should not. */
const SCRATCH_BYTES = 16 * 1024;

const HEAD_END = Buffer.from('\r\n\r\n');

export interface ConnectionLimits {
  /** From the request to the end of the response's head. */
  readonly firstByteTimeoutMs: number;
  /** A body that is being read must bring `progressBytesMin` in each window of this length. */
  readonly progressWindowMs: number;
  readonly progressBytesMin: number;
}

/** How what the peer sends gets into a connection: read into memory of ours, or handed over in memory of its own. */
export interface PeerReader {
  /** How a socket of Node reads. */
  readonly onread: { buffer: () => Uint8Array; callback: (byteCount: number, buffer: Uint8Array) => boolean };
  /** Takes bytes in, `give` being called when they are no longer needed. False to stop reading until `resume`. */
  take(bytes: Uint8Array, give: () => void): boolean;
  /** So many bytes came of what will be taken in later: the peer is alive. */
  progress(byteCount: number): void;
}

/** The sending side of a connection, and its end. */
export interface PeerSocket {
  write(text: string): void;
  resume(): void;
  destroy(): void;
  on(event: 'error' | 'end' | 'close', listener: (error: Error) => void): unknown;
}

/** One connection to a peer: HTTP/1.1, one request at a time. */
export interface PeerConnection extends PeerReader {
  /** Called once with the connected, authenticated socket, which reads into this. */
  attach(socket: PeerSocket): void;
  /**
   * Sends a request and resolves with the answer's head. Throws ERR_PEER_UNAVAILABLE or ERR_PEER_MISBEHAVED, after which
   * the connection is closed. When the head promises a body, `pipe` must be called next.
   */
  request(head: string, hasBody: (head: ResponseHead) => boolean): Promise<ResponseHead>;
  /** Reads the body; the connection can take the next request when `receiver.end` was called and it is still open. */
  pipe(receiver: BodyReceiver): void;
  /** Whether bytes of the answer to the last request came. */
  readonly hasAnswered: boolean;
  readonly isOpen: boolean;
  /** Of all answers so far. */
  readonly receivedBytes: number;
  /** Another connection to the same peer has stalled: this one fails too, unless something came on it meanwhile. */
  failIfSilent(): void;
  close(): void;
}

/** Of one connection, on its own, so many records are on their way to the client at once. */
const RECORDS_MAX = 4;
/** And of all together. More pieces than the processor's caches hold cost more to pass on, and each turn of the event loop is as long as they are many. */
const RECORDS_OF_ALL_MAX = 8;

/** The bodies that connections are reading. */
export interface Bodies {
  count: number;
}

export interface PeerConnectionDeps {
  readonly pool: BufferPool;
  /** Shared by all connections. */
  readonly bodies: Bodies;
  /** Called when it has failed because the peer sends nothing any more. */
  readonly stalled: () => void;
}

type Phase =
  | { readonly name: 'idle' }
  | {
      readonly name: 'head';
      readonly received: Buffer[];
      readonly hasBody: (head: ResponseHead) => boolean;
      readonly resolve: (head: ResponseHead) => void;
      readonly reject: (error: Error) => void;
    }
  | {
      readonly name: 'body';
      remaining: number;
      readonly slabs: Slabs;
      receiver?: BodyReceiver;
      readonly isLast: boolean;
    }
  | { readonly name: 'closed'; readonly error: Error };

export function createPeerConnection(
  { pool, bodies, stalled }: PeerConnectionDeps,
  limits: ConnectionLimits,
): PeerConnection {
  const scratch = new Uint8Array(SCRATCH_BYTES);
  let socket: PeerSocket | undefined;
  let phase: Phase = { name: 'idle' };
  let hasAnswered = false;
  let receivedBytes = 0;
  let isPaused = false;
  let timer: NodeJS.Timeout | undefined;
  let flushing: NodeJS.Immediate | undefined;
  let progress = createProgress(limits.progressBytesMin);
  let heardAtMs = performance.now();

  const fail = (error: Error) => {
    const before = phase;
    if (before.name === 'closed') return;
    phase = { name: 'closed', error };
    clearTimeout(timer);
    clearImmediate(flushing);
    socket?.destroy();
    if (before.name === 'head') before.reject(error);
    if (before.name === 'body') {
      bodies.count -= 1;
      // What came before the failure is good as far as it goes: the relay resumes behind it.
      if (before.receiver !== undefined) before.slabs.finish(before.receiver);
      before.receiver?.failed(error);
    }
  };

  const resume = () => {
    if (!isPaused) return;
    isPaused = false;
    socket?.resume();
  };

  const watchProgress = () => {
    if (isPaused) progress.paused();
    timer = setTimeout(() => {
      if (!progress.isStalled()) return watchProgress();
      fail(unavailable('the peer stalled'));
      stalled();
    }, limits.progressWindowMs / WINDOW_PARTS);
  };

  const flush = () => {
    flushing = undefined;
    if (phase.name === 'body' && phase.receiver !== undefined) phase.slabs.flush(phase.receiver);
  };

  const takeBody = (body: Extract<Phase, { name: 'body' }>, byteCount: number) => {
    body.remaining -= byteCount;
    if (body.remaining > 0) flushing ??= setImmediate(flush);
    else finishBody(body);
  };

  const finishBody = (body: Extract<Phase, { name: 'body' }>) => {
    if (body.receiver === undefined) return;
    clearTimeout(timer);
    clearImmediate(flushing);
    flushing = undefined;
    phase = { name: 'idle' };
    bodies.count -= 1;
    if (body.isLast) fail(unavailable('the peer closed the connection'));
    else resume();
    body.slabs.finish(body.receiver);
    body.receiver.end();
  };

  const resumeUnlessFull = () => {
    if (phase.name !== 'body' || !phase.slabs.isFull) resume();
  };

  const adoptedMax = () => Math.min(RECORDS_MAX, Math.floor(RECORDS_OF_ALL_MAX / bodies.count));

  const startBody = (head: ResponseHead, rest: Uint8Array) => {
    const body: Phase = {
      name: 'body',
      remaining: head.contentLength,
      slabs: createSlabs({ lease: pool.lease(), adoptedMax, freed: resumeUnlessFull }),
      isLast: !head.keepsAlive || rest.length > head.contentLength,
    };
    phase = body;
    bodies.count += 1;
    const mine = rest.subarray(0, head.contentLength);
    body.slabs.append(mine);
    body.remaining -= mine.length;
  };

  const takeHead = (waiting: Extract<Phase, { name: 'head' }>, bytes: Uint8Array) => {
    hasAnswered = true;
    waiting.received.push(Buffer.from(bytes));
    const all = Buffer.concat(waiting.received);
    const end = all.indexOf(HEAD_END);
    if (end < 0 ? all.length > RESPONSE_HEAD_BYTES_MAX : end > RESPONSE_HEAD_BYTES_MAX) {
      fail(misbehaved('the head is too long'));
      return;
    }
    if (end < 0) return;
    const head = parseResponseHead(all.toString('latin1', 0, end));
    if (head === undefined) {
      fail(misbehaved('the head is not valid'));
      return;
    }
    clearTimeout(timer);
    const rest = all.subarray(end + HEAD_END.length);
    if (waiting.hasBody(head)) startBody(head, rest);
    else {
      phase = { name: 'idle' };
      if (!head.keepsAlive || rest.length > 0) fail(unavailable('the peer closed the connection'));
    }
    waiting.resolve(head);
  };

  const read = (byteCount: number, buffer: Uint8Array): boolean => {
    heardAtMs = performance.now();
    receivedBytes += byteCount;
    const isScratch = buffer === scratch;
    const now = phase;
    if (now.name === 'head') takeHead(now, buffer.subarray(0, byteCount));
    else if (now.name === 'idle') fail(misbehaved('the peer spoke unasked'));
    else if (now.name === 'body') {
      const count = Math.min(byteCount, now.remaining);
      progress.arrived(count);
      if (isScratch) now.slabs.append(buffer.subarray(0, count));
      else now.slabs.filled(count);
      takeBody(now, count);
      if (byteCount > count) fail(misbehaved('the peer sent more than it promised'));
    }
    return !isPaused;
  };

  const room = (): Uint8Array => {
    if (phase.name !== 'body') return scratch;
    const space = phase.receiver === undefined ? undefined : phase.slabs.room();
    pauseWhen(space === undefined);
    return space ?? scratch;
  };

  const pauseWhen = (mustPause: boolean): boolean => {
    if (mustPause) {
      isPaused = true;
      progress.paused();
    }
    return !isPaused;
  };

  const take = (bytes: Uint8Array, give: () => void): boolean => {
    const now = phase;
    if (now.name !== 'body') {
      read(bytes.length, bytes);
      give();
      return pauseWhen(phase.name === 'body' && phase.receiver === undefined);
    }
    receivedBytes += bytes.length;
    const count = Math.min(bytes.length, now.remaining);
    now.slabs.adopt(bytes.subarray(0, count), give);
    takeBody(now, count);
    if (bytes.length > count) fail(misbehaved('the peer sent more than it promised'));
    // What was taken in may have been its end: then nobody waits for its client, and the next answer is to be read.
    return phase === now ? pauseWhen(now.slabs.isFull) : !isPaused;
  };

  /** The buffer to read into next is asked for before the socket is: so `callback` decides about pausing. */
  let next: Uint8Array = scratch;
  return {
    onread: {
      buffer: () => next,
      callback: (byteCount, buffer) => {
        read(byteCount, buffer);
        next = room();
        return !isPaused;
      },
    },
    take,
    progress: (byteCount) => {
      heardAtMs = performance.now();
      progress.arrived(byteCount);
    },
    attach: (connected) => {
      socket = connected;
      socket.on('error', (error) => fail(unavailable('the connection broke', error)));
      socket.on('end', () => fail(unavailable('the peer closed the connection')));
      socket.on('close', () => fail(unavailable('the peer closed the connection')));
    },
    request: (head, hasBody) =>
      new Promise((resolve, reject) => {
        if (phase.name === 'closed') {
          reject(phase.error);
          return;
        }
        hasAnswered = false;
        phase = { name: 'head', received: [], hasBody, resolve, reject };
        timer = setTimeout(() => fail(unavailable('the peer did not answer in time')), limits.firstByteTimeoutMs);
        socket?.write(head);
      }),
    pipe: (receiver) => {
      if (phase.name === 'closed') {
        receiver.failed(phase.error);
        return;
      }
      if (phase.name !== 'body') throw new Error('there is no body to read');
      phase.receiver = receiver;
      progress = createProgress(limits.progressBytesMin);
      resume();
      watchProgress();
      if (phase.remaining === 0) finishBody(phase);
      else flush();
    },
    get hasAnswered() {
      return hasAnswered;
    },
    get isOpen() {
      return phase.name !== 'closed';
    },
    get receivedBytes() {
      return receivedBytes;
    },
    failIfSilent: () => {
      // Whoever waits for its client does not listen either, and would find out only when that client has waited long enough.
      if (performance.now() - heardAtMs >= limits.progressWindowMs) fail(unavailable('the peer stalled elsewhere'));
    },
    close: () => {
      if (phase.name === 'body') {
        phase.slabs.close();
        delete phase.receiver;
      }
      fail(unavailable('the connection was closed'));
    },
  };
}

function unavailable(message: string, cause?: unknown): MiroirError {
  return new MiroirError('ERR_PEER_UNAVAILABLE', message, { cause });
}

function misbehaved(message: string): MiroirError {
  return new MiroirError('ERR_PEER_MISBEHAVED', message);
}
