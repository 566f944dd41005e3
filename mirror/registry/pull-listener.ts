import http, { type IncomingMessage, type ServerResponse } from 'node:http';
import type { HostPort } from '../../common/host-port.ts';
import { boundAddress, listen } from '../../common/http/listen.ts';
import type { Component } from '../../common/lifecycle.ts';
import type { Logger } from '../../common/log.ts';
import { answerRefusal } from './answer.ts';
import { refusal } from './oci-error.ts';

export interface PullListenerDeps {
  readonly log: Logger;
  /** Answers one request. What it throws is a fault. */
  readonly handle: (request: IncomingMessage, response: ServerResponse) => Promise<void>;
}

export interface PullListener extends Component {
  /** Where it really listens, once started. */
  address(): HostPort;
  /** From now on everything new is answered by 503, which sends containerd on; what is running goes on. */
  drain(): void;
}

/** containerd opens a few for each image that it pulls. */
const CONNECTIONS_MAX = 256;

const HEADER_BYTES_MAX = 16 * 1024;

/** From the first byte to the last of a request's head. A local client needs microseconds. */
const REQUEST_TIMEOUT_MS = 10_000;

/** Longer than containerd keeps an idle connection (30 s), so that it is not closed just as a request comes. */
const IDLE_TIMEOUT_MS = 120_000;

/** How long `stop` lets running transfers go on. */
const STOP_TIMEOUT_MS = 10_000;

const DRAINING = refusal(503, 'UNAVAILABLE', 'this mirror is stopping');
const FAULT = refusal(503, 'UNAVAILABLE', 'this mirror has a problem, see its log');

/** What clients that pull connect to, with limits on all that they could take, and an end that lets transfers go on. */
export function createPullListener({ log, handle }: PullListenerDeps, address: HostPort): PullListener {
  let isDraining = false;
  const handler = (request: IncomingMessage, response: ServerResponse) => {
    // A client that keeps its connection for another request must not hold the end up.
    response.once('close', () => {
      if (isDraining) setImmediate(() => server.closeIdleConnections());
    });
    if (isDraining) {
      answerRefusal(request, response, DRAINING, { Connection: 'close' });
      return;
    }
    handle(request, response).catch((error: unknown) => {
      log.error('request failed', { error });
      if (response.headersSent) response.socket?.end();
      else answerRefusal(request, response, FAULT);
    });
  };
  const server = http.createServer(
    {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: REQUEST_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: IDLE_TIMEOUT_MS,
      noDelay: true,
    },
    handler,
  );
  server.maxConnections = CONNECTIONS_MAX;
  // Refused by `handle`, before the client sends its body.
  server.on('checkContinue', handler);

  return {
    address: () => boundAddress(server),
    drain: () => {
      isDraining = true;
    },
    start: async () => {
      await listen(server, address);
      log.info('registry listening', { ...boundAddress(server) });
    },
    stop: async () => {
      if (!server.listening) return;
      isDraining = true;
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      const timer = setTimeout(() => server.closeAllConnections(), STOP_TIMEOUT_MS);
      await closed;
      clearTimeout(timer);
    },
  };
}
