import type { IncomingMessage, ServerResponse } from 'node:http';
import { Counter, type Registry as MetricsRegistry } from 'prom-client';
import type { HostPort } from '../../common/host-port.ts';
import type { Logger } from '../../common/log.ts';
import type { Registry } from '../../common/oci/reference.ts';
import { answerBase, answerRefusal, SOURCE_HEADER } from '../registry/answer.ts';
import { refusal } from '../registry/oci-error.ts';
import { formatOciPath, type OciPath } from '../registry/oci-path.ts';
import { createPullListener, type PullListener } from '../registry/pull-listener.ts';
import { refuseForeign, refuseRequest } from '../registry/request-guard.ts';
import type { AskedContent } from '../upstream/registry-client.ts';
import type { RegistryReader } from '../upstream/registry-reader.ts';
import { type BegunImages, createBegunImages } from './begun-images.ts';
import { parseBuilderPath } from './builder-path.ts';
import type { MirrorClient, MirrorRequest } from './mirror-client.ts';
import { type PassOnOptions, passOn, rangeOf } from './pass-on.ts';
import { readWhole } from './read-whole.ts';

/**
 * What became of a request: `left` is a tag that the registry shall answer, `refused` one that the mirror does not let us ask, `fetched` one
 * for more of an image that was begun here, which came from its registry.
 */
type Outcome = 'served' | 'absent' | 'challenged' | 'left' | 'refused' | 'unreachable' | 'fetched';

export interface FrontDeps {
  readonly mirror: MirrorClient;
  readonly registry: RegistryReader;
  readonly log: Logger;
  readonly metrics: FrontMetrics;
}

export interface FrontOptions extends PassOnOptions {
  /** A loopback address: what the pod may have is for the pod. */
  readonly address: HostPort;
  readonly defaultRegistry: Registry;
  readonly answerTags: boolean;
}

export interface FrontMetrics {
  readonly requests: Counter<'outcome'>;
  readonly resumes: Counter<'source'>;
}

export function createFrontMetrics(registry: MetricsRegistry): FrontMetrics {
  return {
    requests: new Counter({
      name: 'miroir_agent_requests_total',
      help: "Requests of the pod's programs for content, by what became of them.",
      labelNames: ['outcome'],
      registers: [registry],
    }),
    resumes: new Counter({
      name: 'miroir_agent_resumes_total',
      help: 'Answers that went on after the mirror of the node had broken off or stood still, by where.',
      labelNames: ['source'],
      registers: [registry],
    }),
  };
}

const NOT_HERE = refusal(404, 'NAME_UNKNOWN', 'the mirror of this node does not have it');
const ASK_REGISTRY = refusal(404, 'MANIFEST_UNKNOWN', 'tags are for the registry to answer');

/** Of a request, what a mirror has to know. */
const TO_MIRROR = ['accept', 'authorization', 'if-range', 'range'];
/** Of an answer, what a client of a registry reads. */
const TO_CLIENT = [
  'accept-ranges',
  'content-length',
  'content-range',
  'content-type',
  'docker-content-digest',
  'www-authenticate',
  SOURCE_HEADER.toLowerCase(),
];

/**
 * What programs in a pod pull from. All that the mirror of the node cannot or may not answer is a 404, by which they go on to the
 * registry, with credentials of their own: no answer here ever keeps a pull from one.
 */
export function createFront(deps: FrontDeps, options: FrontOptions): PullListener {
  const { log } = deps;
  const begun = createBegunImages();
  const handle = (request: IncomingMessage, response: ServerResponse) =>
    answer({ ...deps, begun }, options, request, response);
  return createPullListener({ log, handle }, options.address);
}

interface AnswerDeps extends FrontDeps {
  readonly begun: BegunImages;
}

async function answer(
  deps: AnswerDeps,
  options: FrontOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { mirror, log, metrics } = deps;
  const refused = refuseRequest(request) ?? refuseForeign(request);
  if (refused !== undefined) return answerRefusal(request, response, refused, { Connection: 'close' });
  const path = parseBuilderPath(request.url ?? '', options.defaultRegistry);
  if ('refused' in path) return answerRefusal(request, response, path.refused);
  if (path.kind === 'base') return answerBase(request, response);
  const told = (outcome: Outcome) => {
    metrics.requests.inc({ outcome });
    log.debug('request', { method: request.method, ...shown(path), outcome });
  };
  if (path.kind === 'manifest' && path.reference.tag !== undefined && !options.answerTags) {
    told('left');
    return answerRefusal(request, response, ASK_REGISTRY);
  }
  const gone = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) gone.abort();
  });
  const headers = Object.fromEntries(TO_MIRROR.flatMap((name) => pick(request.headers[name], name)));
  const asked = { method: request.method ?? 'GET', path: formatOciPath(path), headers };
  const answered = await mirror.ask(asked, gone.signal);
  const outcome = outcomeOf(answered?.statusCode);
  if (outcome === 'refused') log.warn('The mirror of the node refuses this pod', { status: answered?.statusCode });
  const digest = path.kind === 'blob' ? path.digest : path.reference.digest;
  const { registry = options.defaultRegistry, repository, kind } = path;
  const content = digest === undefined ? undefined : { kind, registry, repository, digest };
  const send = (body: IncomingMessage) =>
    sendBody(deps, options, { asked, content, body, goesOn: goesOnByItself(request) }, response, gone.signal);
  const isOurs = answered !== undefined && (outcome === 'served' || outcome === 'challenged');
  if (!isOurs) answered?.destroy();
  const fetched = isOurs || content === undefined ? undefined : await fetchRest(deps, request, content, gone.signal);
  told(fetched === undefined ? outcome : 'fetched');
  const body = isOurs ? answered : fetched;
  if (body === undefined || !(await send(body))) answerRefusal(request, response, NOT_HERE);
}

/**
 * What is missing of an image that was begun here. Buildah and its kin, and kaniko, take all of an image from whoever gave its manifest: for
 * them a 404 then is the end.
 */
async function fetchRest(
  { registry, begun }: AnswerDeps,
  request: IncomingMessage,
  content: AskedContent,
  signal: AbortSignal,
): Promise<IncomingMessage | undefined> {
  const { authorization, range } = request.headers;
  if (request.method !== 'GET' || range !== undefined || goesOnByItself(request)) return undefined;
  if (!begun.has(content.digest)) return undefined;
  return (await registry.read(content, undefined, authorization, signal))?.body;
}

interface Sent {
  readonly asked: MirrorRequest;
  /** Undefined for a tag. */
  readonly content: AskedContent | undefined;
  readonly body: IncomingMessage;
  /** Whether the client goes on by itself where it ends. */
  readonly goesOn: boolean;
}

/** False when it did not come to an answer. */
async function sendBody(
  deps: AnswerDeps,
  options: PassOnOptions,
  { asked, content, body, goesOn }: Sent,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<boolean> {
  const { log, metrics, begun } = deps;
  const writeHead = () =>
    response.writeHead(
      body.statusCode as number,
      Object.fromEntries(TO_CLIENT.flatMap((name) => pick(body.headers[name], name))),
    );
  const range = content?.kind === 'blob' && asked.method === 'GET' ? rangeOf(body) : undefined;
  if (content === undefined || range === undefined) {
    const whole = await readWhole(body);
    if (whole === undefined) return false;
    if (body.statusCode === 200 && content?.kind !== 'blob') begun.begin(whole);
    writeHead().end(whole);
    return true;
  }
  writeHead().flushHeaders(); // So that a body of which nothing comes is one that ended short.
  const resumed = (source: 'mirror' | 'registry') => {
    metrics.resumes.inc({ source });
    if (source === 'registry') log.warn('The rest of a layer comes from its registry', { ...content });
  };
  const patience = goesOn ? { ...options, resumeMs: 0 } : options;
  await passOn({ ...deps, resumed }, patience, { blob: content, request: asked, body, range }, response, signal);
  return true;
}

/** containerd and what is made of it go on at the registry where an answer ended. */
function goesOnByItself({ headers }: IncomingMessage): boolean {
  return /^(?:buildkit|containerd)\//.test(headers['user-agent'] ?? '');
}

function outcomeOf(status: number | undefined): Outcome {
  if (status === undefined) return 'unreachable';
  if (status === 401) return 'challenged';
  if (status === 403) return 'refused';
  // Of a range behind the end the client has to know; anything else is no answer.
  return (status >= 200 && status < 300) || status === 416 ? 'served' : 'absent';
}

function pick(value: string | readonly string[] | undefined, name: string): [string, string][] {
  return value === undefined ? [] : [[name, String(value)]];
}

function shown(path: Exclude<OciPath, { kind: 'base' }>): Readonly<Record<string, unknown>> {
  const reference = path.kind === 'blob' ? path.digest : (path.reference.digest ?? path.reference.tag);
  return { kind: path.kind, registry: path.registry, repository: path.repository, reference };
}
