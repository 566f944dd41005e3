import http2 from 'node:http2';
import net from 'node:net';
import { MiroirError } from '../../common/errors.ts';
import { encodeFrame, FrameReader } from './grpc-frame.ts';

/** A gRPC service as ts-proto describes it. */
export interface GrpcService {
  readonly fullName: string;
}

interface MessageType<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(bytes: Uint8Array): T;
}

export interface GrpcMethod<Q, R> {
  readonly name: string;
  readonly requestType: MessageType<Q>;
  readonly responseType: MessageType<R>;
}

export interface CallOptions {
  /** How long the whole call may take; undefined for a stream that lives until its signal aborts. */
  readonly deadlineMs: number | undefined;
}

/**
 * A client of one gRPC server on a Unix socket. It connects on the first call, and again on the first call after the
 * server went away. Calls throw ERR_CONTAINERD_UNAVAILABLE when nobody answers on the socket, ERR_DEADLINE_EXCEEDED,
 * ERR_ABORTED when the signal aborts, and GrpcError for a status that the server gave.
 *
 * It speaks the unary and server-streaming parts of gRPC over node:http2 and nothing else: 6 MB and 50 ms less than
 * @grpc/grpc-js, which a process that is on every node cares about.
 */
export interface GrpcConnection {
  unary<Q, R>(
    service: GrpcService,
    method: GrpcMethod<Q, R>,
    request: Q,
    options: CallOptions,
    signal: AbortSignal,
  ): Promise<R>;
  stream<Q, R>(
    service: GrpcService,
    method: GrpcMethod<Q, R>,
    request: Q,
    options: CallOptions,
    signal: AbortSignal,
  ): AsyncIterable<R>;
  /** Ends the connection and every call on it. */
  close(): void;
}

export interface GrpcConnectionOptions {
  readonly socket: string;
  /** Sent with every call. */
  readonly headers: Readonly<Record<string, string>>;
}

/** A call that the server answered with an error: https://grpc.io/docs/guides/status-codes/. */
export class GrpcError extends MiroirError {
  readonly status: number;

  constructor(status: number, message: string) {
    super(status === GRPC_UNAVAILABLE ? 'ERR_CONTAINERD_UNAVAILABLE' : 'ERR_CONTAINERD_CALL_FAILED', message);
    this.name = 'GrpcError';
    this.status = status;
  }
}

export const GRPC_NOT_FOUND = 5;
const GRPC_UNAVAILABLE = 14;

/** A list of all content comes in messages far below 64 KiB, HTTP/2's first window; one of all images may be larger. */
const WINDOW_BYTES = 1024 * 1024;

interface GrpcStatus {
  readonly code: number;
  readonly message: string;
}

export function createGrpcConnection({ socket, headers }: GrpcConnectionOptions): GrpcConnection {
  let session: http2.ClientHttp2Session | undefined;

  function connect(): http2.ClientHttp2Session {
    if (session !== undefined && !session.closed && !session.destroyed) return session;
    const opened = http2.connect('http://localhost', {
      createConnection: () => net.connect(socket),
      settings: { enablePush: false, initialWindowSize: WINDOW_BYTES },
    });
    const forget = () => {
      if (session === opened) session = undefined;
    };
    opened.on('error', forget); // Each call on the session gets the error too, and throws it.
    opened.on('close', forget);
    opened.on('goaway', forget);
    session = opened;
    return opened;
  }

  async function* stream<Q, R>(
    service: GrpcService,
    method: GrpcMethod<Q, R>,
    request: Q,
    { deadlineMs }: CallOptions,
    signal: AbortSignal,
  ): AsyncGenerator<R, void, undefined> {
    const name = `${service.fullName}/${method.name}`;
    if (signal.aborted) throw aborted(name, signal);
    const call = connect().request({
      ':method': 'POST',
      ':path': `/${name}`,
      'content-type': 'application/grpc',
      te: 'trailers',
      ...headers,
      ...(deadlineMs !== undefined && { 'grpc-timeout': `${deadlineMs}m` }),
    });
    let status: GrpcStatus | undefined;
    const readStatus = (headers: http2.IncomingHttpHeaders) => {
      status ??= parseStatus(headers);
    };
    call.on('response', readStatus); // A call that fails at once has its status here, and no trailers.
    call.on('trailers', readStatus);
    let isOverdue = false;
    const cancel = () => call.close(http2.constants.NGHTTP2_CANCEL);
    const overdue = () => {
      isOverdue = true;
      cancel();
    };
    const timer = deadlineMs === undefined ? undefined : setTimeout(overdue, deadlineMs);
    signal.addEventListener('abort', cancel, { once: true });
    try {
      call.end(encodeFrame(method.requestType.encode(request).finish()));
      const frames = new FrameReader();
      for await (const chunk of call as AsyncIterable<Buffer>) {
        for (const message of frames.push(chunk)) yield method.responseType.decode(message);
      }
    } catch (error) {
      if (error instanceof MiroirError) throw error;
      if (!signal.aborted && !isOverdue && status === undefined) throw unavailable(socket, error);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', cancel);
      call.on('error', () => {}); // Cancelling a call that is still under way must not be a fault of its own.
      cancel();
    }
    if (signal.aborted) throw aborted(name, signal);
    if (isOverdue) throw overdueError(name, deadlineMs);
    if (status === undefined) throw unavailable(socket, undefined);
    if (status.code === 4) throw overdueError(name, deadlineMs);
    if (status.code !== 0) throw new GrpcError(status.code, `${name}: ${status.message}`);
  }

  return {
    stream,
    async unary(service, method, request, options, signal) {
      const [response] = await Array.fromAsync(stream(service, method, request, options, signal));
      if (response === undefined) throw unavailable(socket, undefined);
      return response;
    },
    close() {
      session?.destroy();
      session = undefined;
    },
  };
}

function parseStatus(headers: http2.IncomingHttpHeaders): GrpcStatus | undefined {
  const code = headers['grpc-status'];
  if (typeof code === 'string') return { code: Number(code), message: decodeMessage(headers['grpc-message']) };
  const httpStatus = Number(headers[':status'] ?? 200); // Trailers have none.
  return httpStatus === 200 ? undefined : { code: GRPC_UNAVAILABLE, message: `HTTP status ${httpStatus}` };
}

function decodeMessage(message: string | readonly string[] | undefined): string {
  if (typeof message !== 'string') return 'no message';
  try {
    return decodeURIComponent(message);
  } catch {
    return message;
  }
}

function unavailable(socket: string, cause: unknown): MiroirError {
  const root = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause; // The socket's own error.
  const reason = root instanceof Error ? ` (${root.message})` : '';
  return new MiroirError(
    'ERR_CONTAINERD_UNAVAILABLE',
    `containerd does not answer at ${socket}${reason}`,
    cause === undefined ? {} : { cause },
  );
}

function aborted(name: string, signal: AbortSignal): MiroirError {
  return new MiroirError('ERR_ABORTED', `${name} was aborted`, { cause: signal.reason });
}

function overdueError(name: string, deadlineMs: number | undefined): MiroirError {
  return new MiroirError('ERR_DEADLINE_EXCEEDED', `${name} took longer than ${deadlineMs ?? '?'} ms`);
}
