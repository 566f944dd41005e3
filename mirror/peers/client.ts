import type { SwarmKey } from '../../certs/swarm-key.ts';
import { MiroirError } from '../../common/errors.ts';
import { formatRange, parseContentRange } from '../../common/http/range.ts';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import type { TagReference } from '../../common/oci/reference.ts';
import { formatOciPath } from '../registry/oci-path.ts';
import type { BufferPool } from '../transfer/buffer-pool.ts';
import type { BodyReceiver, ContentRequest, PeerBody, PeerClient, PeerHead } from '../transfer/peer-client.ts';
import { type ConnectionLimits, createPeerConnection, type PeerConnection } from './connection.ts';
import { createDial } from './dial.ts';
import { keyIdentity, peerKeys } from './proof.ts';
import type { Records } from './records.ts';
import type { ResponseHead } from './response-head.ts';

export interface PeerClientDeps {
  readonly pool: BufferPool;
  readonly records: Records;
  readonly now: () => number;
}

export interface PeerClientOptions {
  /** The first is the one to connect with. */
  readonly keys: readonly SwarmKey[];
  readonly encryption: 'on' | 'off';
  readonly limits?: Partial<PeerClientLimits>;
}

export interface PeerClientLimits extends ConnectionLimits {
  readonly dialTimeoutMs: number;
  /** A node pulls a few images of a few layers at a time; more from one peer would only queue there. */
  readonly connectionsPerPeerMax: number;
  /** Kept for the next request. Shorter than the peer's own limit, so that it is this side that closes. */
  readonly idleTimeoutMs: number;
  readonly idleConnectionsMax: number;
  /** What one connection brings before the next request gets a new one. */
  readonly connectionBytesMax: number;
}

/** Within one cluster a connection takes a millisecond; a peer that needs half a second is no help. */
const LIMITS: PeerClientLimits = {
  dialTimeoutMs: 500,
  firstByteTimeoutMs: 1500,
  progressWindowMs: 3000,
  // 21 KB/s: slower than any upstream that is worth a pull.
  progressBytesMin: 64 * 1024,
  connectionsPerPeerMax: 16,
  idleTimeoutMs: 60_000,
  idleConnectionsMax: 64,
  // A quarter of what the key of a sealed one may seal: no body is cut by its end.
  connectionBytesMax: 64 * 1024 ** 3,
};

/** The body of a refusal is read away, to keep its connection, when it is no longer than an honest one. */
const REFUSAL_BYTES_MAX = 4096;

/** Ages over a century are nonsense, and would not be exact. */
const AGE_MS_MAX = 100 * 365 * 24 * 3600 * 1000;

interface Idle {
  readonly connection: PeerConnection;
  readonly timer: NodeJS.Timeout;
}

export function createPeerClient(deps: PeerClientDeps, options: PeerClientOptions): PeerClient {
  const limits = { ...LIMITS, ...options.limits };
  const [key] = options.keys;
  if (key === undefined) throw new Error('a peer client needs a swarm key');
  const identity = keyIdentity(key);
  const dial = createDial(deps.records, {
    identity,
    key: peerKeys([key]).get(identity) as Uint8Array,
    encryption: options.encryption,
    timeoutMs: limits.dialTimeoutMs,
  });
  const idle = new Map<string, Idle[]>();
  const open = new Map<string, Set<PeerConnection>>();
  let idleCount = 0;
  const bodies = { count: 0 };

  const forget = (address: string, connection: PeerConnection) => {
    const mine = open.get(address);
    mine?.delete(connection);
    if (mine?.size === 0) open.delete(address);
  };

  const takeIdle = (address: string): PeerConnection | undefined => {
    const list = idle.get(address) ?? [];
    for (let entry = list.pop(); entry !== undefined; entry = list.pop()) {
      clearTimeout(entry.timer);
      idleCount -= 1;
      if (list.length === 0) idle.delete(address);
      if (entry.connection.isOpen) return entry.connection;
      forget(address, entry.connection);
    }
    idle.delete(address);
    return undefined;
  };

  const connect = async (address: string, signal: AbortSignal): Promise<PeerConnection> => {
    const stalled = () => {
      for (const other of open.get(address) ?? []) other.failIfSilent();
    };
    const connection = createPeerConnection({ pool: deps.pool, bodies, stalled }, limits);
    const mine = open.get(address) ?? new Set();
    if (mine.size >= limits.connectionsPerPeerMax) {
      throw new MiroirError('ERR_PEER_UNAVAILABLE', 'enough is asked of this peer already');
    }
    open.set(address, mine.add(connection));
    try {
      connection.attach(await dial(address, connection, signal));
      return connection;
    } catch (error) {
      forget(address, connection);
      throw error;
    }
  };

  const done = (address: string, connection: PeerConnection) => {
    const isWorn = connection.receivedBytes >= limits.connectionBytesMax;
    if (!connection.isOpen || isWorn || idleCount >= limits.idleConnectionsMax) {
      connection.close();
      forget(address, connection);
      return;
    }
    const list = idle.get(address) ?? [];
    const timer = setTimeout(() => {
      const at = list.findIndex((entry) => entry.connection === connection);
      if (at < 0) return;
      list.splice(at, 1);
      idleCount -= 1;
      if (list.length === 0) idle.delete(address);
      connection.close();
      forget(address, connection);
    }, limits.idleTimeoutMs).unref();
    list.push({ connection, timer });
    idle.set(address, list);
    idleCount += 1;
  };

  /** Sends a request over a warm connection or a new one; a warm one that the peer had just closed is no failure. */
  const exchange = async (
    address: string,
    text: string,
    hasBody: boolean,
    signal: AbortSignal,
  ): Promise<{ connection: PeerConnection; head: ResponseHead }> => {
    const send = async (connection: PeerConnection) => {
      const abort = () => connection.close();
      signal.addEventListener('abort', abort, { once: true });
      try {
        return { connection, head: await connection.request(text, () => hasBody) };
      } catch (error) {
        forget(address, connection);
        throw error;
      } finally {
        signal.removeEventListener('abort', abort);
      }
    };
    signal.throwIfAborted();
    const warm = takeIdle(address);
    if (warm !== undefined) {
      try {
        return await send(warm);
      } catch (error) {
        if (warm.hasAnswered || signal.aborted) throw error;
      }
    }
    return send(await connect(address, signal));
  };

  const ask = async (address: string, text: string, hasBody: boolean, signal: AbortSignal) => {
    try {
      const { connection, head } = await exchange(address, text, hasBody, signal);
      if (head.status === 200 || head.status === 206) return { connection, head };
      if (hasBody) await discard(connection, head);
      done(address, connection);
      throw refused(head);
    } catch (error) {
      if (signal.aborted) throw new MiroirError('ERR_ABORTED', 'the request to a peer was cancelled', { cause: error });
      throw error;
    }
  };

  /** An answer that is not what was asked for: the connection is closed, as what follows on it means nothing. */
  const reject = (address: string, connection: PeerConnection, message: string): never => {
    connection.close();
    forget(address, connection);
    throw new MiroirError('ERR_PEER_MISBEHAVED', message);
  };

  return {
    get: async (address, request, start, end, signal) => {
      const isWhole = start === 0 && end === undefined;
      const range = isWhole ? '' : `Range: ${formatRange(start, end)}\r\n`;
      const text = requestHead('GET', address, contentTarget(request), range);
      const { connection, head } = await ask(address, text, true, signal);
      const body = describeBody(
        head,
        request.digest,
        isWhole ? undefined : { start, ...(end !== undefined && { end }) },
      );
      if (body === undefined) return reject(address, connection, 'the answer is not what was asked for');
      return createBody(
        connection,
        body,
        () => done(address, connection),
        () => forget(address, connection),
      );
    },
    head: async (address, request, signal) => {
      const text = requestHead('HEAD', address, contentTarget(request), '');
      const { connection, head } = await ask(address, text, false, signal);
      if (head.contentDigest !== request.digest) return reject(address, connection, 'the answer is for another digest');
      done(address, connection);
      return head.contentLength;
    },
    headTag: async (address, tag, signal) => {
      const text = requestHead('HEAD', address, tagTarget(tag), '');
      const { connection, head } = await ask(address, text, false, signal);
      const digest = parseDigest(head.contentDigest ?? '');
      const ageMs = /^\d{1,15}$/.test(head.resolvedAgeMs ?? '') ? Number(head.resolvedAgeMs) : Number.NaN;
      if (digest === undefined || !(ageMs <= AGE_MS_MAX))
        return reject(address, connection, 'the answer names no digest');
      done(address, connection);
      return { digest, resolvedAtMs: deps.now() - ageMs };
    },
    headReaders: async (address, content, signal) => {
      const text = requestHead('HEAD', address, contentTarget({ ...content, kind: 'manifest' }), '');
      const { connection, head } = await ask(address, text, false, signal);
      if (head.contentDigest !== content.digest) return reject(address, connection, 'the answer is for another digest');
      done(address, connection);
      return head.readers === 'everybody' || head.readers === 'some' ? head.readers : undefined;
    },
    close: () => {
      for (const list of idle.values()) for (const { timer } of list) clearTimeout(timer);
      idle.clear();
      idleCount = 0;
      for (const connections of open.values()) for (const connection of connections) connection.close();
      open.clear();
    },
  };
}

function contentTarget({ kind, digest, registry, repository }: ContentRequest): string {
  const name = { repository, ...(registry !== undefined && { registry }) };
  return formatOciPath(kind === 'blob' ? { kind, ...name, digest } : { kind, ...name, reference: { digest } });
}

function tagTarget({ registry, repository, tag }: TagReference): string {
  return formatOciPath({ kind: 'manifest', registry, repository, reference: { tag } });
}

function requestHead(method: 'GET' | 'HEAD', address: string, target: string, fields: string): string {
  return `${method} ${target} HTTP/1.1\r\nHost: ${address}\r\n${fields}\r\n`;
}

function refused({ status, contentRange }: ResponseHead): MiroirError {
  if (status === 404) return new MiroirError('ERR_CONTENT_NOT_FOUND', 'the peer does not have it');
  if (status === 416) {
    const sizeBytes = parseContentRange(contentRange ?? '')?.sizeBytes;
    return new MiroirError('ERR_PEER_UNAVAILABLE', `the peer has no such range of ${sizeBytes ?? 'unknown'} bytes`);
  }
  if (status === 429) return new MiroirError('ERR_PEER_BUSY', 'the peer sends this to enough others already');
  return new MiroirError('ERR_PEER_UNAVAILABLE', `the peer answered ${status}`);
}

/** What the body is, or undefined when the head is no answer to the question. */
function describeBody(
  head: ResponseHead,
  digest: Digest,
  asked: { readonly start: number; readonly end?: number } | undefined,
): PeerHead | undefined {
  if (head.contentDigest !== digest) return undefined;
  if (asked === undefined) {
    return head.status === 200 ? { sizeBytes: head.contentLength, start: 0, end: head.contentLength } : undefined;
  }
  const { range, sizeBytes } = parseContentRange(head.contentRange ?? '') ?? {};
  if (head.status !== 206 || range === undefined || sizeBytes === undefined) return undefined;
  const isAsked = range.start === asked.start && range.end === Math.min(asked.end ?? sizeBytes, sizeBytes);
  return isAsked && head.contentLength === range.end - range.start ? { sizeBytes, ...range } : undefined;
}

async function discard(connection: PeerConnection, head: ResponseHead): Promise<void> {
  if (head.contentLength > REFUSAL_BYTES_MAX) {
    connection.close();
    return;
  }
  await new Promise<void>((resolve) => {
    connection.pipe({ chunk: (_bytes, release) => release(), end: resolve, failed: () => resolve() });
  });
}

function createBody(connection: PeerConnection, head: PeerHead, done: () => void, forget: () => void): PeerBody {
  let isOver = false;
  return {
    head,
    pipe: (receiver: BodyReceiver) => {
      if (isOver) return;
      connection.pipe({
        chunk: (bytes, release) => receiver.chunk(bytes, release),
        end: () => {
          isOver = true;
          done();
          receiver.end();
        },
        failed: (error) => {
          isOver = true;
          forget();
          receiver.failed(error);
        },
      });
    },
    cancel: () => {
      if (isOver) return;
      isOver = true;
      connection.close();
      forget();
    },
  };
}
