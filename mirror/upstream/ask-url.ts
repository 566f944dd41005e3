import http, { type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import https from 'node:https';
import tls from 'node:tls';
import { MiroirError } from '../../common/errors.ts';
import type { Upstream } from '../../containerd/find-upstream.ts';
import type { ProxyEnv } from './proxy-env.ts';

/** How a server is known, and who asks it. */
export type Trust = Omit<Upstream, 'url'>;

export interface UrlAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Empty for HEAD. */
  readonly body: string;
}

export interface UrlQuestion extends Trust {
  readonly method: 'GET' | 'HEAD';
  readonly headers: Readonly<Record<string, string>>;
}

/** Asks one URL, and follows nowhere. */
export interface UrlAsker {
  /** Throws ERR_REGISTRY_UNAVAILABLE when there is no answer that can be used. */
  ask(url: URL, question: UrlQuestion, signal: AbortSignal): Promise<UrlAnswer>;
  /** The same, with a body of any length, which is to be read or destroyed; what breaks it off is its error. */
  open(url: URL, question: UrlQuestion, signal: AbortSignal): Promise<IncomingMessage>;
  /** Closes the connections that are kept for another question. */
  close(): void;
}

/** A token is a few KiB. */
const BODY_BYTES_MAX = 64 * 1024;
const HEADER_BYTES_MAX = 16 * 1024;
/** Questions come in threes, a moment after each other: for a token, and with it. */
const IDLE_MS = 5000;
const CONNECTIONS_MAX = 16;

/** Without a proxy, unless one is given. */
export function createUrlAsker(proxyEnv: ProxyEnv = {}): UrlAsker {
  const options = { keepAlive: true, maxFreeSockets: CONNECTIONS_MAX, timeout: IDLE_MS, proxyEnv: { ...proxyEnv } };
  const agents = { http: new http.Agent(options), https: new https.Agent(options) };
  return {
    ask: (url, question, signal) =>
      orUnavailable(url, async () => {
        const response = await send(agents, url, question, signal);
        return { status: response.statusCode ?? 0, headers: response.headers, body: await readText(response) };
      }),
    open: (url, question, signal) => orUnavailable(url, () => send(agents, url, question, signal)),
    close: () => {
      agents.http.destroy();
      agents.https.destroy();
    },
  };
}

interface Agents {
  readonly http: http.Agent;
  readonly https: https.Agent;
}

async function orUnavailable<T>(url: URL, asked: () => Promise<T>): Promise<T> {
  try {
    return await asked();
  } catch (cause) {
    const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : 'no usable answer';
    throw new MiroirError('ERR_REGISTRY_UNAVAILABLE', `${url.host} cannot be asked: ${reason}`, { cause });
  }
}

function send(
  agents: Agents,
  url: URL,
  { method, headers, ca, client, isVerified }: UrlQuestion,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const common = { method, headers, signal, maxHeaderSize: HEADER_BYTES_MAX };
  const trust = {
    rejectUnauthorized: isVerified,
    ...(ca.length > 0 && { ca: [...tls.rootCertificates, ...ca] }),
    ...(client.length > 0 && { cert: client.map(({ cert }) => cert), key: client.map(({ key }) => key) }),
  };
  const request =
    url.protocol === 'https:'
      ? https.request(url, { ...common, ...trust, agent: agents.https })
      : http.request(url, { ...common, agent: agents.http });
  request.on('response', resolve).on('error', reject).end();
  return promise;
}

async function readText(response: IncomingMessage): Promise<string> {
  response.setEncoding('latin1');
  let body = '';
  for await (const chunk of response) {
    body += chunk as string;
    if (body.length > BODY_BYTES_MAX) throw new Error('the answer is too long');
  }
  return body;
}
