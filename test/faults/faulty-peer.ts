import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import net, { type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import tls from 'node:tls';
import { Registry } from 'prom-client';
import { readSwarmKeys } from '../../certs/swarm-key.ts';
import { boundAddress, listen } from '../../common/http/listen.ts';
import { applyRange, formatContentRange, parseRange } from '../../common/http/range.ts';
import { silentLogger } from '../../common/log.ts';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import { acceptSealed } from '../../mirror/peers/accept-sealed.ts';
import { TLS_OPTIONS } from '../../mirror/peers/dial-sealed.ts';
import { peerKeys } from '../../mirror/peers/proof.ts';
import { createRecords } from '../../mirror/peers/records.ts';
import { createSessions, SESSION_PROTOCOL } from '../../mirror/peers/sessions.ts';
import { createOneHopRouter } from '../../mirror/swarm/one-hop.ts';
import { digestKey } from '../../mirror/swarm/router.ts';
import { until } from '../lab/namespace.ts';

/** Something of an image, and what it is there. */
export interface PeerContent {
  /** A small layer is verified by the mirror before any of it is passed on, a layer by containerd when it has all of it. */
  readonly kind: 'manifest' | 'config' | 'small layer' | 'layer';
  readonly digest: string;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

/** A question to the faulty peer that it has an answer to. */
export interface Asked extends PeerContent {
  readonly method: string;
  /** What was asked for: `start` is inclusive, `end` is not. */
  readonly start: number;
  readonly end: number;
  /** The puller's address. */
  readonly client: string;
  readonly response: ServerResponse;
  /** Breaks the connection as the kernel does for a process that died with bytes unread. */
  readonly reset: () => void;
}

export type Answer = (asked: Asked) => void | Promise<void>;

export interface FaultyPeer {
  /** Rejects when an answer could not do what it was to do. */
  stop(): Promise<void>;
}

export interface FaultyPeerOptions {
  /** This machine's address in the lab. */
  readonly host: string;
  readonly swarmKeyFile: string;
  /** The addresses of the mirrors that are to find it. */
  readonly members: readonly string[];
  readonly contents: readonly PeerContent[];
  readonly answer: Answer;
}

const SWARM_PORT = 29983;
const ACCEPT_MS = 5000;

/**
 * A member of the swarm that holds an image, holds the key, and answers as it is told: what no honest mirror can be made
 * to do at an exact byte. Resolves when all members know what it says it has.
 */
export async function startFaultyPeer(options: FaultyPeerOptions, signal: AbortSignal): Promise<FaultyPeer> {
  const { host, contents, answer } = options;
  const keys = await readSwarmKeys(options.swarmKeyFile);
  const secrets = peerKeys(keys);
  const keyOf = (identity: string) => Buffer.from(secrets.get(identity) ?? '');
  const sockets = new Set<Socket>();
  /** Nobody waits for an answer: what goes wrong in it is told where the peer is stopped. */
  let wrong: { readonly error: unknown } | undefined;
  const reply = async (asked: Asked) => {
    try {
      await answer(asked);
    } catch (error) {
      wrong ??= { error };
      asked.response.destroy();
    }
  };
  const app = http.createServer((request, response) => {
    const socket = carriers.get(request.socket) ?? request.socket;
    const asked = parseQuestion(request, response, contents, socket);
    if (asked === undefined) {
      response.writeHead(404, { 'Content-Length': 0 }).end();
    } else {
      void reply(asked);
    }
  });
  /** What carries the streams that HTTP is spoken on. */
  const carriers = new WeakMap<Duplex, Socket>();
  const sessions = createSessions(Date.now);
  const handshakes = tls.createServer(
    { ...TLS_OPTIONS, ALPNProtocols: [SESSION_PROTOCOL], pskCallback: (_socket, identity) => keyOf(identity) },
    (socket) => sessions.begin(socket),
  );
  const accept = async (socket: Socket) => {
    const stream = await acceptSealed(socket, { sessions, records: createRecords() }, ACCEPT_MS);
    if (stream === 'forgotten') socket.destroy();
    else if (stream === 'tls') handshakes.emit('connection', socket);
    else {
      carriers.set(stream, socket);
      app.emit('connection', stream);
    }
  };
  const server = net.createServer((socket) => {
    sockets.add(socket.on('error', () => {}).once('close', () => sockets.delete(socket)));
    accept(socket).catch(() => socket.destroy());
  });
  await listen(server, { host, port: 0 });
  const { port } = boundAddress(server);
  const members = options.members.map((member) => ({ host: member, port: SWARM_PORT }));
  const router = createOneHopRouter(
    {
      log: silentLogger,
      registry: new Registry(),
      members: {
        async *watch() {
          yield members;
        },
      },
      now: Date.now,
      random: Math.random,
    },
    { listen: { host, port: 0 }, advertiseHost: host, peerPort: port, keys },
  );
  const stop = async () => {
    await router.stop();
    for (const socket of sockets) socket.destroy();
    server.close();
    if (wrong !== undefined) throw wrong.error;
  };
  try {
    await router.start(signal);
    const complain = () => 'the faulty peer was not let into the swarm';
    await until(() => router.members().length >= members.length, signal, complain);
    const entries = contents.map(({ digest }) => ({ key: digestKey(parseDigest(digest) as Digest) }));
    await router.advertise(entries, signal);
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop };
}

function parseQuestion(
  request: IncomingMessage,
  response: ServerResponse,
  contents: readonly PeerContent[],
  socket: Socket,
): Asked | undefined {
  const digest = /\/(sha256:[0-9a-f]{64})(?:\?|$)/.exec(request.url ?? '')?.[1];
  const content = contents.find((one) => one.digest === digest);
  const range = applyRange(parseRange(request.headers.range), content?.bytes.length ?? 0);
  if (content === undefined || range === 'unsatisfiable') return undefined;
  const { start, end } = range === 'whole' ? { start: 0, end: content.bytes.length } : range;
  return {
    ...content,
    method: request.method ?? '',
    start,
    end,
    client: socket.remoteAddress ?? '',
    response,
    reset: () => socket.resetAndDestroy(),
  };
}

/** The head that an honest peer sends, but for what is told otherwise. */
export function sendHead({ response, digest, mediaType, bytes, start, end }: Asked, fields: object = {}): void {
  const isPart = end - start < bytes.length;
  response.writeHead(isPart ? 206 : 200, {
    'Content-Type': mediaType,
    'Content-Length': end - start,
    'Docker-Content-Digest': digest,
    ...(isPart && { 'Content-Range': formatContentRange({ start, end }, bytes.length) }),
    ...fields,
  });
}

/** Resolves when the kernel has these bytes of the content, by their offsets in it. */
export function sendBytes({ response, bytes }: Asked, start: number, end: number): Promise<void> {
  return new Promise((resolve) => {
    response.write(bytes.subarray(start, end), () => resolve());
  });
}

export const honestly: Answer = (asked) => {
  sendHead(asked);
  asked.response.end(asked.method === 'HEAD' ? undefined : asked.bytes.subarray(asked.start, asked.end));
};
