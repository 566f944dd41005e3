import http, { type IncomingMessage } from 'node:http';
import { formatHostPort, type HostPort } from '../../common/host-port.ts';
import type { Logger } from '../../common/log.ts';
import { POD_TOKEN_HEADER } from '../../common/pod-token.ts';

export interface MirrorClientDeps {
  /** The token of the pod, as it is now. */
  readonly token: () => Promise<string>;
  readonly log: Logger;
  /** Milliseconds; it only grows. */
  readonly now: () => number;
}

export interface MirrorClientOptions {
  readonly mirror: HostPort;
  readonly headTimeoutMs?: number;
}

export interface MirrorRequest {
  readonly method: string;
  readonly path: string;
  /** What the client sent that concerns content; its Authorization goes along. */
  readonly headers: http.OutgoingHttpHeaders;
}

export interface MirrorClient {
  /** The answer's head, its body still to be read, or destroyed when nothing comes of it; undefined when the mirror does not answer, or not in time. */
  ask(request: MirrorRequest, signal: AbortSignal): Promise<IncomingMessage | undefined>;
  close(): void;
}

/** A mirror answers, from a peer that it asks last, within 5 s. */
const HEAD_TIMEOUT_MS = 10_000;
/** The mirror is on the same machine: who does not take a connection by then is kept from it, as by a NetworkPolicy. */
const CONNECT_TIMEOUT_MS = 2_000;
/** After a mirror that hung: an image has many layers, and they shall not wait one after the other. Each time in a row it doubles. */
const PAUSE_MS = 10_000;
const PAUSE_MS_MAX = 160_000;
/** What the pulls of one pod need. */
const CONNECTIONS_MAX = 64;

/** Asks the mirror of the pod's node. */
export function createMirrorClient(
  { token, log, now }: MirrorClientDeps,
  { mirror, headTimeoutMs = HEAD_TIMEOUT_MS }: MirrorClientOptions,
): MirrorClient {
  const agent = new http.Agent({ keepAlive: true, maxSockets: CONNECTIONS_MAX });
  let pausedUntil = Number.NEGATIVE_INFINITY;
  let pauseMs = PAUSE_MS;
  let isAnswering = true;

  function send(request: MirrorRequest, text: string, signal: AbortSignal): Promise<IncomingMessage> {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    const outgoing = http.request({
      agent,
      host: mirror.host,
      port: mirror.port,
      method: request.method,
      path: request.path,
      headers: { ...request.headers, [POD_TOKEN_HEADER]: text, 'user-agent': 'miroir-agent' },
      signal,
    });
    const giveUp = (what: string, ms: number) => {
      pausedUntil = now() + pauseMs;
      pauseMs = Math.min(pauseMs * 2, PAUSE_MS_MAX);
      outgoing.destroy(new Error(`no ${what} within ${ms} ms`));
    };
    const late = setTimeout(giveUp, headTimeoutMs, 'answer', headTimeoutMs);
    outgoing.once('socket', (socket) => {
      if (!socket.connecting) return;
      const unconnected = setTimeout(giveUp, CONNECT_TIMEOUT_MS, 'connection', CONNECT_TIMEOUT_MS);
      for (const event of ['connect', 'close'] as const) socket.once(event, () => clearTimeout(unconnected));
    });
    outgoing.once('response', (response) => {
      clearTimeout(late);
      resolve(response);
    });
    outgoing.once('close', () => clearTimeout(late));
    outgoing.on('error', reject);
    outgoing.end();
    return promise;
  }

  return {
    ask: async (request, signal) => {
      if (now() < pausedUntil) return undefined;
      try {
        const answered = await send(request, await token(), signal);
        isAnswering = true;
        pauseMs = PAUSE_MS;
        return answered;
      } catch (error) {
        // Once, until it answers again: it is asked often while it is waited for.
        if (isAnswering && !signal.aborted) {
          log.warn('The mirror of the node does not answer', { mirror: formatHostPort(mirror), error });
          isAnswering = false;
        }
        return undefined;
      }
    },
    close: () => agent.destroy(),
  };
}
