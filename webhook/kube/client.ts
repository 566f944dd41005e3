import http from 'node:http';
import https from 'node:https';
import { KubeConfig } from '@kubernetes/client-node';
import { type ErrorCode, MiroirError } from '../../common/errors.ts';

/** One request to the API, as it is on the wire. */
export interface KubeRequest {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Without a query: `/api/v1/nodes`. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Of the body, JSON unless told. */
  readonly contentType?: string;
  /** What is wanted, JSON unless told. */
  readonly accept?: string;
}

/**
 * Kubernetes' API over one pool of connections that are kept open. Its methods throw ERR_KUBE_NOT_FOUND (404),
 * ERR_KUBE_CONFLICT (409), ERR_KUBE_GONE (410), ERR_KUBE_REFUSED (any other 4xx), and ERR_KUBE_UNAVAILABLE when the
 * apiserver is not reached in time, is busy (429) or broken (5xx): asking again later may help then, and only then.
 */
export interface KubeClient {
  /** The namespace that this process is in, where its credentials tell. */
  readonly namespace: string | undefined;
  /** The answer's object. `T` is what the caller knows of it: the apiserver is believed. */
  call<T>(request: KubeRequest, signal: AbortSignal): Promise<T>;
  /** The lines of an answer that goes on: a watch. Ends when the apiserver ends it. */
  lines(request: KubeRequest, signal: AbortSignal): AsyncGenerator<string>;
  close(): void;
}

export interface KubeClientOptions {
  /** A kubeconfig file. */
  readonly kubeconfig: string | undefined;
  /** Without one: the service account of the pod that this runs in, or what kubectl takes. The pod's unless told. */
  readonly otherwise?: 'pod' | 'kubectl';
}

/** Watches take one each for good, and a burst of calls the rest. */
const CONNECTIONS_MAX = 16;
/** The apiserver ends what takes a minute by itself; half of it leaves room to ask again. */
const CALL_TIMEOUT_MS = 30_000;
/** etcd takes no object over 1.5 MiB, which JSON can double; lists come in pages. */
const BODY_BYTES_MAX = 64 * 1024 * 1024;
const LINE_CHARS_MAX = 8 * 1024 * 1024;
/** Of an error's body: its message. */
const MESSAGE_CHARS_MAX = 500;

/** Throws ERR_KUBE_CONFIG_INVALID when there are no credentials, or none that can be read. */
export function createKubeClient({ kubeconfig, otherwise = 'pod' }: KubeClientOptions): KubeClient {
  const config = loadKubeConfig(kubeconfig, otherwise);
  const cluster = config.getCurrentCluster();
  if (!cluster) throw new MiroirError('ERR_KUBE_CONFIG_INVALID', 'the kubeconfig has no current cluster');
  const { server, proxyUrl } = cluster;
  // The agent that client-node makes closes each connection after its answer.
  const settings = { keepAlive: true, maxSockets: CONNECTIONS_MAX };
  const agent = server.startsWith('http:') ? new http.Agent(settings) : new https.Agent(settings);

  async function send(request: KubeRequest, signal: AbortSignal): Promise<http.IncomingMessage> {
    const url = new URL(server.replace(/\/$/, '') + request.path);
    for (const [name, value] of Object.entries(request.query ?? {})) url.searchParams.set(name, value);
    const headers: http.OutgoingHttpHeaders = {}; // client-node adds to it.
    const credentials: https.RequestOptions = { headers };
    await config.applyToHTTPSOptions(credentials);
    const body = request.body === undefined ? undefined : JSON.stringify(request.body);
    const options: https.RequestOptions = {
      ...credentials,
      ...(proxyUrl === undefined && { agent }),
      method: request.method ?? 'GET',
      headers: {
        ...headers,
        accept: request.accept ?? 'application/json',
        'user-agent': 'miroir',
        ...(body !== undefined && {
          'content-type': request.contentType ?? 'application/json',
          'content-length': Buffer.byteLength(body),
        }),
      },
      signal,
    };
    const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
    const outgoing = (url.protocol === 'http:' ? http : https).request(url, options, resolve);
    outgoing.on('error', reject);
    outgoing.end(body);
    const response = await promise;
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    throw refusal(request, status, await readText(response));
  }

  return {
    namespace: config.getContextObject(config.getCurrentContext())?.namespace,
    call: async <T>(request: KubeRequest, signal: AbortSignal): Promise<T> => {
      const deadline = AbortSignal.any([signal, AbortSignal.timeout(CALL_TIMEOUT_MS)]);
      try {
        return JSON.parse(await readText(await send(request, deadline))) as T;
      } catch (error) {
        throw explain(request, error, signal);
      }
    },
    lines: async function* (request, signal) {
      try {
        yield* splitLines(await send(request, signal));
      } catch (error) {
        throw explain(request, error, signal);
      }
    },
    close: () => agent.destroy(),
  };
}

function loadKubeConfig(file: string | undefined, otherwise: 'pod' | 'kubectl'): KubeConfig {
  const config = new KubeConfig();
  try {
    if (file === undefined && otherwise === 'kubectl') config.loadFromDefault();
    else if (file === undefined) config.loadFromCluster();
    else config.loadFromFile(file);
    return config;
  } catch (cause) {
    const message =
      file === undefined
        ? 'there is no service account of a pod here: outside of a cluster, name a kubeconfig'
        : `the kubeconfig ${file} cannot be read`;
    throw new MiroirError('ERR_KUBE_CONFIG_INVALID', message, { cause });
  }
}

async function readText(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > BODY_BYTES_MAX) throw new Error(`the answer is longer than ${BODY_BYTES_MAX} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

async function* splitLines(response: http.IncomingMessage): AsyncGenerator<string> {
  response.setEncoding('utf8');
  let rest = '';
  for await (const chunk of response as AsyncIterable<string>) {
    const lines = (rest + chunk).split('\n');
    rest = lines.pop() as string;
    if (rest.length > LINE_CHARS_MAX) throw new Error(`a line is longer than ${LINE_CHARS_MAX} characters`);
    yield* lines.filter((line) => line !== '');
  }
}

/** Of https://kubernetes.io/docs/reference/using-api/api-concepts/ those that callers tell apart. */
function codeOfStatus(status: number): ErrorCode {
  if (status === 404) return 'ERR_KUBE_NOT_FOUND';
  if (status === 409) return 'ERR_KUBE_CONFLICT';
  if (status === 410) return 'ERR_KUBE_GONE';
  return status >= 500 || status === 429 ? 'ERR_KUBE_UNAVAILABLE' : 'ERR_KUBE_REFUSED';
}

function refusal({ method = 'GET', path }: KubeRequest, status: number, text: string): MiroirError {
  return new MiroirError(codeOfStatus(status), `${method} ${path} was answered ${status}: ${messageOf(text)}`);
}

/** Kubernetes answers errors as a Status object; what stands in front of it may answer anything. */
function messageOf(text: string): string {
  try {
    const { message } = JSON.parse(text) as { readonly message?: unknown };
    if (typeof message === 'string') return message.slice(0, MESSAGE_CHARS_MAX);
  } catch {
    // It is no JSON.
  }
  return text.slice(0, MESSAGE_CHARS_MAX);
}

/** All that is not an answer: connections refused and cut, time that ran out, answers that break off. */
function explain({ method = 'GET', path }: KubeRequest, error: unknown, signal: AbortSignal): unknown {
  if (error instanceof MiroirError) return error;
  if (signal.aborted) return new MiroirError('ERR_ABORTED', `${method} ${path} was given up`, { cause: error });
  const why = error instanceof Error ? error.message : String(error);
  return new MiroirError('ERR_KUBE_UNAVAILABLE', `${method} ${path} got no answer: ${why}`, { cause: error });
}
