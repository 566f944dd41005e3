import { STATUS_CODES } from 'node:http';
import net from 'node:net';
import { classifyPath, type Ledger, type UpstreamRequest } from './ledger.ts';
import type { Doorman } from './lock.ts';
import { createPace, type Pace } from './pace.ts';

/** How the upstream behaves. Everything absent is normal; rates are bytes per second. */
export interface Behaviour {
  readonly delayMs?: number;
  readonly throttle?: { readonly perConnection?: number; readonly total?: number };
  readonly fault?: Fault;
}

export type Fault =
  /** Answers every request with this status. */
  | { readonly kind: 'status'; readonly status: number }
  /** Closes the connection after this many bytes of a blob, Content-Length still owed. */
  | { readonly kind: 'cut'; readonly afterBytes: number }
  /** Sends this many bytes of a blob and then nothing more, the connection open. */
  | { readonly kind: 'hang'; readonly afterBytes: number };

export interface ProxyDeps {
  readonly ledger: Ledger;
  readonly doorman: Doorman;
}

export interface ProxyOptions {
  readonly host: string;
  readonly port: number;
  readonly registryPort: number;
}

export interface UpstreamProxy {
  /** Listens. Before it and after `stop` connections are refused. */
  start(): Promise<void>;
  /** Refuses new connections and drops those there are, in the middle of whatever they carry. */
  stop(): Promise<void>;
  behave(behaviour: Behaviour): void;
}

/** A request head is a few hundred bytes; tokens make it longer. */
const HEAD_BYTES_MAX = 64 * 1024;
/** Small enough that a rate of 10 MB/s is kept to within 7 ms; larger ones cost less where no rate is to be kept. */
const PACED_CHUNK_BYTES = 64 * 1024;
const CHUNK_BYTES = 256 * 1024;
/** Buffers of one response under way: the kernel fills one while the others are being sent. */
const CHUNKS = 4;
/** The first byte of a TLS connection (RFC 8446, 5.1). */
const TLS_HANDSHAKE = 22;

interface RequestHead {
  readonly method: string;
  readonly target: string;
  readonly path: string;
  readonly headers: ReadonlyMap<string, string>;
}

/**
 * A registry's front that counts and misbehaves on demand. It speaks to the registry in HTTP/1.0, one connection a
 * request: bodies are then never chunked and can be passed on as the raw bytes they are, through a few reused buffers.
 * Pull only: what sends a body is told to use the registry itself.
 */
export function createProxy(deps: ProxyDeps, options: ProxyOptions): UpstreamProxy {
  let behaviour: Behaviour = {};
  let total: Pace | undefined;
  const clients = new Set<net.Socket>();
  const server = net.createServer({ noDelay: true }, (client) => {
    clients.add(client);
    client.on('close', () => clients.delete(client));
    client.on('error', () => client.destroy());
    serveClient(client);
  });

  function serveClient(client: net.Socket): void {
    const own = createOwnPace();
    let pending = Buffer.alloc(0);
    let busy = false;
    const next = () => {
      if (busy || client.destroyed) return;
      const end = pending.indexOf('\r\n\r\n');
      if (end < 0) {
        if (pending.length > HEAD_BYTES_MAX) client.destroy();
        return;
      }
      const head = parseHead(pending.subarray(0, end).toString('latin1'));
      pending = pending.subarray(end + 4);
      if (!head) {
        client.destroy();
        return;
      }
      busy = true;
      serveRequest(client, own(), head, (keep) => {
        busy = false;
        if (keep) next();
        else client.end();
      });
    };
    client.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      // Who tries TLS first, as buildah does, would wait for its own timeout.
      if (pending[0] === TLS_HANDSHAKE) client.destroy();
      else next();
    });
  }

  /** A connection keeps its pace from one request to the next, unless the rate was changed in between. */
  function createOwnPace(): () => Pace | undefined {
    let rate: number | undefined;
    let pace: Pace | undefined;
    return () => {
      const wanted = behaviour.throttle?.perConnection;
      if (wanted !== rate) pace = wanted === undefined ? undefined : createPace(wanted);
      rate = wanted;
      return pace;
    };
  }

  function serveRequest(
    client: net.Socket,
    own: Pace | undefined,
    head: RequestHead,
    done: (keep: boolean) => void,
  ): void {
    const { fault } = behaviour;
    const record = startRecord(deps.ledger, client, head);
    const answer = (status: number, headers: Record<string, string>, body: string) => {
      const bytes = head.method === 'HEAD' ? '' : body;
      const lines = Object.entries({ 'content-type': 'application/json', ...headers }).map(
        ([name, value]) => `${name}: ${value}`,
      );
      const text = [
        `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? 'Unknown'}`,
        ...lines,
        `content-length: ${Buffer.byteLength(body)}`,
      ];
      const keep = head.method === 'GET' || head.method === 'HEAD';
      if (!keep) text.push('connection: close');
      client.write(`${text.join('\r\n')}\r\n\r\n${bytes}`);
      record({ status, bytes: bytes.length });
      done(keep);
    };
    const serve = () => {
      if (fault?.kind === 'status')
        return answer(fault.status, {}, errorBody('UNAVAILABLE', 'the lab has broken this registry'));
      const verdict = deps.doorman.judge({
        method: head.method,
        path: head.path,
        host: head.headers.get('host') ?? `${options.host}:${options.port}`,
        authorization: head.headers.get('authorization'),
      });
      if (verdict.kind === 'answer') return answer(verdict.status, verdict.headers, verdict.body);
      if (head.method !== 'GET' && head.method !== 'HEAD') {
        return answer(
          405,
          { allow: 'GET, HEAD' },
          errorBody('UNSUPPORTED', `push to port ${options.registryPort} instead`),
        );
      }
      relay({
        client,
        head,
        record,
        done,
        registryPort: options.registryPort,
        fault,
        paces: [own, total].filter((pace) => !!pace),
      });
    };
    if (behaviour.delayMs === undefined) serve();
    else setTimeout(serve, behaviour.delayMs);
  }

  return {
    start: () =>
      new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen(options.port, options.host, () => resolve());
      }),
    stop: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const client of clients) client.destroy();
      }),
    behave: (next) => {
      behaviour = next;
      total = next.throttle?.total === undefined ? undefined : createPace(next.throttle.total);
    },
  };
}

type Outcome = Pick<UpstreamRequest, 'status' | 'bytes'> & { readonly digest?: string };

function startRecord(ledger: Ledger, client: net.Socket, head: RequestHead): (outcome: Outcome) => void {
  const startedAtMs = Date.now();
  const range = head.headers.get('range');
  const asked = classifyPath(head.path);
  const remote = client.remoteAddress ?? '';
  return ({ status, bytes, digest }) => {
    const found = asked.digest ?? (asked.kind === 'manifest' ? digest : undefined);
    ledger.add({
      method: head.method,
      path: head.path,
      status,
      bytes,
      ...(range !== undefined && { range }),
      client: remote,
      startedAtMs,
      endedAtMs: Date.now(),
      kind: asked.kind,
      ...(found !== undefined && { digest: found }),
    });
  };
}

interface Relay {
  readonly client: net.Socket;
  readonly head: RequestHead;
  readonly record: (outcome: Outcome) => void;
  readonly done: (keep: boolean) => void;
  readonly registryPort: number;
  readonly fault: Fault | undefined;
  readonly paces: readonly Pace[];
}

/** Passes one request on and its answer back. Ends in exactly one `record`, when the client has all or either side is gone. */
function relay({ client, head, record, done, registryPort, fault, paces }: Relay): void {
  const chunkBytes = paces.length > 0 ? PACED_CHUNK_BYTES : CHUNK_BYTES;
  const buffers = Array.from({ length: CHUNKS }, () => Buffer.allocUnsafe(chunkBytes));
  const isBlob = classifyPath(head.path).kind === 'blob';
  let filled = 0;
  let unsent = 0;
  let waiting = false;
  let ended = false;
  let response: ResponseHead | undefined;
  let early = Buffer.alloc(0);
  let sent = 0;

  const resume = () => {
    if (!waiting && unsent < CHUNKS - 1 && !registry.destroyed) registry.resume();
  };
  /** Answers whether the connection to the registry may go on reading. */
  const send = (bytes: Buffer): boolean => {
    if (fault && fault.kind !== 'status' && isBlob && sent + bytes.length >= fault.afterBytes) {
      const last = bytes.subarray(0, fault.afterBytes - sent);
      sent += last.length;
      if (fault.kind === 'cut') client.end(last);
      else client.write(last);
      finish();
      return false;
    }
    sent += bytes.length;
    unsent += 1;
    client.write(bytes, () => {
      unsent -= 1;
      resume();
    });
    const now = performance.now();
    const waitMs = Math.max(0, ...paces.map((pace) => pace.book(bytes.length, now)));
    if (waitMs >= 1) {
      waiting = true;
      setTimeout(() => {
        waiting = false;
        resume();
      }, waitMs);
    }
    return !waiting && unsent < CHUNKS - 1;
  };
  const onRead = (length: number, buffer: Uint8Array): boolean => {
    const bytes = Buffer.from(buffer.buffer, buffer.byteOffset, length);
    if (response) return send(bytes);
    early = Buffer.concat([early, bytes]);
    const end = early.indexOf('\r\n\r\n');
    if (end < 0) return true;
    response = parseResponse(early.subarray(0, end).toString('latin1'));
    client.write(response.text, 'latin1');
    const body = Buffer.from(early.subarray(end + 4)); // A copy: the buffer it was read into is reused.
    return body.length === 0 || send(body);
  };
  const finish = () => {
    if (ended) return;
    ended = true;
    registry.destroy();
    client.off('close', finish);
    record({
      status: response?.status ?? 502,
      bytes: sent,
      ...(response?.digest !== undefined && { digest: response.digest }),
    });
  };

  const registry = net.connect({
    host: '127.0.0.1',
    port: registryPort,
    onread: {
      buffer: () => buffers[filled++ % CHUNKS] as Buffer,
      callback: onRead,
    },
  });
  const lines = [...head.headers].filter(([name]) => name !== 'connection').map(([name, value]) => `${name}: ${value}`);
  registry.write(`${[`${head.method} ${head.target} HTTP/1.0`, ...lines].join('\r\n')}\r\n\r\n`, 'latin1');
  client.once('close', finish);
  registry.on('error', () => {
    finish();
    client.destroy();
  });
  registry.on('end', () => {
    if (ended) return;
    const whole = head.method === 'HEAD' || response?.length === sent;
    finish();
    done(whole);
  });
}

interface ResponseHead {
  readonly status: number;
  readonly length: number | undefined;
  readonly digest: string | undefined;
  /** The head as the client gets it. */
  readonly text: string;
}

function parseResponse(text: string): ResponseHead {
  const [statusLine = '', ...lines] = text.split('\r\n');
  const headers = parseHeaders(lines);
  const length = headers.get('content-length');
  const kept = lines.filter((line) => !/^connection:/i.test(line));
  if (length === undefined) kept.push('Connection: close');
  return {
    status: Number(statusLine.split(' ')[1]),
    length: length === undefined ? undefined : Number(length),
    digest: headers.get('docker-content-digest'),
    text: `${[statusLine.replace('HTTP/1.0', 'HTTP/1.1'), ...kept].join('\r\n')}\r\n\r\n`,
  };
}

function parseHead(text: string): RequestHead | undefined {
  const [requestLine = '', ...lines] = text.split('\r\n');
  const [, method, target] = /^([A-Z]+) (\S+) HTTP\/1\.[01]$/.exec(requestLine) ?? [];
  if (method === undefined || target === undefined) return undefined;
  return { method, target, path: target.split('?')[0] as string, headers: parseHeaders(lines) };
}

/** Fields that come more than once are one list (RFC 9110, 5.3): so `Accept` comes from buildah. */
function parseHeaders(lines: readonly string[]): Map<string, string> {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    const name = line.slice(0, colon).toLowerCase();
    const before = headers.get(name);
    const value = line.slice(colon + 1).trim();
    headers.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  return headers;
}

function errorBody(code: string, message: string): string {
  return JSON.stringify({ errors: [{ code, message }] });
}
