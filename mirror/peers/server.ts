import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import https from 'node:https';
import type { Server, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { TLSSocket } from 'node:tls';
import type { SwarmKey } from '../../certs/swarm-key.ts';
import { hasCode } from '../../common/errors.ts';
import type { HostPort } from '../../common/host-port.ts';
import { boundAddress, listen } from '../../common/http/listen.ts';
import { parseRange } from '../../common/http/range.ts';
import type { Component } from '../../common/lifecycle.ts';
import type { Logger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Named, Readers } from '../access/known-rights.ts';
import { answerBase, answerBlobHead, answerManifest, answerRefusal } from '../registry/answer.ts';
import { refusal } from '../registry/oci-error.ts';
import { type OciPath, parseOciPath } from '../registry/oci-path.ts';
import { refuseRequest } from '../registry/request-guard.ts';
import type { Store } from '../store/store.ts';
import type { CountingSink } from '../transfer/body-sink.ts';
import type { BufferPool } from '../transfer/buffer-pool.ts';
import type { KernelCopy } from '../transfer/kernel-copy.ts';
import { type LocalContent, type Manifest, readManifest } from '../transfer/local-content.ts';
import { createPace, type Pace, UNLIMITED } from '../transfer/pace.ts';
import type { PutOff } from '../transfer/put-off.ts';
import type { ReadNow } from '../transfer/read-now.ts';
import { type SendableFile, sendFile } from '../transfer/send-file.ts';
import { acceptProof } from './accept.ts';
import { acceptSealed } from './accept-sealed.ts';
import { createAdmission } from './admission.ts';
import { TLS_OPTIONS } from './dial-sealed.ts';
import type { PeersMetrics } from './metrics.ts';
import { peerKeys } from './proof.ts';
import type { Records } from './records.ts';
import { createSessions, SESSION_PROTOCOL } from './sessions.ts';
import { createUploads, type UploadLimits, type Uploads } from './uploads.ts';

export interface PeerServerDeps {
  readonly store: Store;
  readonly local: LocalContent;
  readonly pool: BufferPool;
  readonly records: Records;
  readonly kernelCopy: KernelCopy | undefined;
  readonly readNow: ReadNow | undefined;
  /** What this node gets no more of for now. */
  readonly putOff: Pick<PutOff, 'has' | 'until'>;
  readonly log: Logger;
  readonly metrics: PeersMetrics;
  readonly now: () => number;
  /** Who may read something by what its registry said; undefined when it was not asked. */
  readonly readers: (content: Named) => Readers | undefined;
  /** Whether this node has enough to do: then it answers that it is busy, and others are asked. */
  readonly isTooBusy: () => boolean;
}

export interface PeerServerOptions {
  readonly address: HostPort;
  /** All are accepted: a rotation passes through the swarm node by node. */
  readonly keys: readonly SwarmKey[];
  readonly encryption: 'on' | 'off';
  readonly uploads: UploadLimits;
  /** Bytes per second of content to all peers together; undefined for no limit. */
  readonly uploadRate?: number | undefined;
  /** A peer that takes nothing of a body for so long, or twice as long, is left. */
  readonly uploadStallMs?: number;
}

export interface PeerServer extends Component {
  /** Where it really listens, once started. */
  address(): HostPort;
}

/** All members of a large swarm may want the same image; beyond this they find another holder. */
const CONNECTIONS_MAX = 512;

/** A peer's request is a path and two fields. */
const HEADER_BYTES_MAX = 4096;

/** From the first byte to the last of a request's head, and of what proves the key before it. */
const REQUEST_TIMEOUT_MS = 5000;

/** Longer than the other side keeps an idle connection, so that it is not closed just as a request comes. */
const IDLE_TIMEOUT_MS = 120_000;

/** Who takes nothing for this long hangs: its place is for others. A piece of 1 MiB takes less, or its peer has left for another one. */
const UPLOAD_STALL_MS = 60_000;

/** How long ago a tag was resolved at its registry. An age, as the clocks of two nodes need not agree. */
const RESOLVED_AGE_FIELD = 'Miroir-Resolved-Age-Ms';

/** Who may read a manifest, for an outage of its registry. */
const READERS_FIELD = 'Miroir-Readers';

const NOT_FOUND = refusal(404, 'BLOB_UNKNOWN', 'this node does not have it');
const BUSY = refusal(429, 'TOOMANYREQUESTS', 'this node sends to enough others');

/** How long a manifest that is just arriving is waited for. Whoever asks is then free to ask another one, who may have got it meanwhile. */
const MANIFEST_WAIT_MS = 1_000;

/** What other mirrors pull from. It serves what this node holds and never asks anyone else, so there are no loops. */
export function createPeerServer(deps: PeerServerDeps, options: PeerServerOptions): PeerServer {
  const keys = peerKeys(options.keys);
  const sockets = createAdmission();
  const sessions = createSessions(deps.now);
  const httpOptions = {
    maxHeaderSize: HEADER_BYTES_MAX,
    headersTimeout: REQUEST_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: IDLE_TIMEOUT_MS,
    noDelay: true,
  };
  const pace = options.uploadRate === undefined ? UNLIMITED : createPace(deps, options.uploadRate);
  const uploads = createUploads(deps, options.uploads);
  const context: Context = { ...deps, uploads, uploadStallMs: options.uploadStallMs ?? UPLOAD_STALL_MS, pace };
  const handler = (request: IncomingMessage, response: ServerResponse) => {
    handle(context, request, response).catch((error: unknown) => {
      deps.log.error('peer request failed', { error });
      if (response.headersSent) response.socket?.end();
      else answerRefusal(request, response, refusal(503, 'UNAVAILABLE', 'this node cannot read its store'));
    });
  };
  const server =
    options.encryption === 'on'
      ? https.createServer(
          {
            ...httpOptions,
            ...TLS_OPTIONS,
            handshakeTimeout: REQUEST_TIMEOUT_MS,
            ALPNProtocols: [SESSION_PROTOCOL, 'http/1.1'],
            pskCallback: (_socket, identity) => keyOf(identity),
          },
          handler,
        )
      : http.createServer(httpOptions, handler);
  server.maxConnections = CONNECTIONS_MAX;
  const [connected] = takeListeners(server, 'connection');
  server.on('connection', (socket: Socket) => {
    if (!sockets.admit(socket)) return;
    accept(socket).then((serve) => serve(), refuse(socket));
  });
  const [secured] = takeListeners(server, 'secureConnection');
  server.on('secureConnection', (socket: TLSSocket) => {
    if (socket.alpnProtocol === SESSION_PROTOCOL) sessions.begin(socket);
    else secured?.call(server, socket);
  });
  server.on('tlsClientError', (error, socket) => refuse(socket)(error));

  function keyOf(identity: string): Buffer | null {
    const key = keys.get(identity);
    return key === undefined ? null : Buffer.from(key);
  }

  /** Resolves with what serves the socket, once its other end has shown that it may be served. */
  async function accept(socket: Socket): Promise<() => void> {
    if (options.encryption === 'off') {
      await acceptProof(socket, keyOf, REQUEST_TIMEOUT_MS);
      return () => connected?.call(server, socket);
    }
    const stream = await acceptSealed(socket, { sessions, records: deps.records }, REQUEST_TIMEOUT_MS);
    if (stream === 'tls') return () => connected?.call(server, socket);
    return stream === 'forgotten' ? () => socket.destroy() : () => secured?.call(server, stream);
  }

  function refuse(socket: Socket): (error: unknown) => void {
    return (error) => {
      deps.metrics.refusedConnections.inc();
      deps.log.debug('peer did not prove the swarm key', { host: socket.remoteAddress, error });
      socket.destroy();
    };
  }

  return {
    address: () => boundAddress(server),
    start: async () => {
      await listen(server, options.address);
      deps.log.info('peer server listening', { ...boundAddress(server), encryption: options.encryption });
    },
    stop: async () => {
      if (!server.listening) return;
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      sockets.destroyAll();
      await closed;
    },
  };
}

/** Takes the listeners of a server away from it, to be called when they should be. */
function takeListeners(server: Server, event: string): Array<(this: Server, stream: Duplex) => void> {
  const listeners = server.listeners(event) as Array<(this: Server, stream: Duplex) => void>;
  server.removeAllListeners(event);
  return listeners;
}

interface Context extends PeerServerDeps {
  readonly uploads: Uploads;
  readonly uploadStallMs: number;
  readonly pace: Pace;
}

async function handle(deps: Context, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const refused = refuseRequest(request);
  if (refused !== undefined) return answerRefusal(request, response, refused, { Allow: 'GET, HEAD' });
  const path = parseOciPath(request.url ?? '');
  if ('refused' in path) return answerRefusal(request, response, path.refused);
  const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
  switch (path.kind) {
    case 'base':
      return answerBase(request, response);
    case 'manifest':
      return answerWithManifest(deps, request, response, path, signal);
    case 'blob':
      return answerWithBlob(deps, request, response, path.digest, signal);
  }
}

async function answerWithManifest(
  deps: PeerServerDeps,
  request: IncomingMessage,
  response: ServerResponse,
  path: Extract<OciPath, { kind: 'manifest' }>,
  signal: AbortSignal,
): Promise<void> {
  const found = await findManifest(deps, path, signal);
  deps.metrics.requests.inc({ kind: 'manifest', outcome: found === undefined ? 'absent' : 'served' });
  if (found === undefined) return answerRefusal(request, response, NOT_FOUND);
  const { manifest, resolvedAtMs } = found;
  const age = resolvedAtMs === undefined ? undefined : Math.max(0, Math.round(deps.now() - resolvedAtMs));
  const { registry, repository } = path;
  const readers = registry && deps.readers({ registry, repository, digest: manifest.digest });
  answerManifest(request, response, manifest, {
    ...(age !== undefined && { [RESOLVED_AGE_FIELD]: age }),
    ...(readers !== undefined && { [READERS_FIELD]: readers }),
  });
  if (request.method === 'GET') deps.metrics.sentBytes.inc(manifest.bytes.length);
}

async function findManifest(
  deps: PeerServerDeps,
  { registry, repository, reference }: Extract<OciPath, { kind: 'manifest' }>,
  signal: AbortSignal,
): Promise<{ manifest: Manifest; resolvedAtMs?: number } | undefined> {
  const { store, local, log } = deps;
  let { digest } = reference;
  let resolvedAtMs: number | undefined;
  if (reference.tag !== undefined) {
    const record = registry && (await store.resolve({ registry, repository, tag: reference.tag }, signal));
    if (record === undefined) return undefined;
    ({ digest, resolvedAtMs } = record);
  }
  const held = await local
    .manifest(digest as Digest, signal)
    .catch((error) => absentOrThrow(error, log, digest as Digest));
  const manifest = held ?? (await arrivingManifest(deps, digest as Digest, signal));
  return manifest && { manifest, ...(resolvedAtMs !== undefined && { resolvedAtMs }) };
}

async function answerWithBlob(
  deps: Context,
  request: IncomingMessage,
  response: ServerResponse,
  digest: Digest,
  signal: AbortSignal,
): Promise<void> {
  const content = await openOrFollow(deps, digest, signal);
  const isSent = content !== undefined && request.method === 'GET';
  const upload =
    isSent && !deps.isTooBusy() ? deps.uploads.begin(digest, request.socket.remoteAddress ?? '') : undefined;
  const isBusy = isSent && upload === undefined;
  const outcome =
    content === undefined ? 'absent' : isBusy ? 'busy' : content.growth === undefined ? 'served' : 'followed';
  deps.metrics.requests.inc({ kind: 'blob', outcome });
  if (content === undefined) return answerRefusal(request, response, NOT_FOUND);
  try {
    if (isBusy) return answerRefusal(request, response, BUSY);
    const body = answerBlobHead(request, response, content, parseRange(request.headers.range));
    if (body === undefined) return;
    // Node sends the head with the first bytes, and these may be a while in coming.
    if (content.growth !== undefined) response.flushHeaders();
    const failed = (error: unknown) => {
      if (deps.putOff.has(digest)) deps.log.debug('content comes later', { digest });
      else deps.log.warn('content could not be read to its end', { digest, error });
    };
    const stopWatching = whenStalled(body.sink, deps.uploadStallMs, () => response.destroy());
    await sendFile({ ...deps, failed }, content, body.range, body.sink).finally(stopWatching);
    deps.metrics.sentBytes.inc(body.sink.takenBytes);
  } finally {
    upload?.();
    await content.file.close();
  }
}

/** Calls back when a body got no further between two looks. Answers what ends the looking. */
function whenStalled(sink: CountingSink, stallMs: number, stalled: () => void): () => void {
  let takenBytes = -1;
  const timer = setInterval(() => {
    if (sink.takenBytes === takenBytes) stalled();
    ({ takenBytes } = sink);
  }, stallMs);
  return () => clearInterval(timer);
}

/** What this node holds, or is receiving. */
async function openOrFollow(
  { local, store, log, putOff }: PeerServerDeps,
  digest: Digest,
  signal: AbortSignal,
): Promise<(SendableFile & { readonly digest: Digest; readonly sizeBytes: number }) | undefined> {
  const held = await local.open(digest, signal).catch((error) => absentOrThrow(error, log, digest));
  if (held !== undefined) return held;
  const ingest = await store.ingest(digest, signal);
  return ingest && { digest, sizeBytes: ingest.sizeBytes, file: ingest.file, growth: putOff.until(digest, ingest) };
}

/** A manifest that this node is receiving, once it is whole. */
async function arrivingManifest(
  { store }: PeerServerDeps,
  digest: Digest,
  signal: AbortSignal,
): Promise<Manifest | undefined> {
  const ingest = await store.ingest(digest, signal);
  if (ingest === undefined) return undefined;
  try {
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(MANIFEST_WAIT_MS)]);
    let available: number | 'aborted' = ingest.availableBytes;
    while (available !== 'aborted' && available < ingest.sizeBytes) available = await ingest.grown(available, deadline);
    return available === 'aborted' ? undefined : await readManifest(ingest);
  } catch (error) {
    if (hasCode(error, 'ERR_CONTENT_CORRUPT') || hasCode(error, 'ERR_CONTENT_NOT_FOUND')) return undefined;
    if (error instanceof DOMException) return undefined; // It did not come in time.
    throw error;
  } finally {
    await ingest.file.close();
  }
}

/** What is not here, or is not whole, is the same to a peer: it finds another holder. */
function absentOrThrow(error: unknown, log: Logger, digest: Digest): undefined {
  if (hasCode(error, 'ERR_CONTENT_NOT_FOUND')) return undefined;
  if (!hasCode(error, 'ERR_CONTENT_CORRUPT')) throw error;
  log.warn('content on disk is not whole', { digest });
  return undefined;
}
