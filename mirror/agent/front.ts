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
import { parseBuilderPath } from './builder-path.ts';
import type { MirrorClient } from './mirror-client.ts';
import { type PassOnOptions, passOn } from './pass-on.ts';

/** What became of a request: `left` is a tag that the registry shall answer, `refused` one that the mirror does not let us ask. */
type Outcome = 'served' | 'absent' | 'challenged' | 'left' | 'refused' | 'unreachable';

export interface FrontDeps {
  readonly mirror: MirrorClient;
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
  readonly resumes: Counter;
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
      help: 'Answers that went on after the mirror of the node had broken off.',
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
  const handle = (request: IncomingMessage, response: ServerResponse) => answer(deps, options, request, response);
  return createPullListener({ log, handle }, options.address);
}

async function answer(
  { mirror, log, metrics }: FrontDeps,
  options: FrontOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
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
  told(outcome);
  if (answered === undefined || (outcome !== 'served' && outcome !== 'challenged')) {
    answered?.destroy();
    if (outcome === 'refused') log.warn('The mirror of the node refuses this pod', { status: answered?.statusCode });
    return answerRefusal(request, response, NOT_HERE);
  }
  response.writeHead(
    answered.statusCode as number,
    Object.fromEntries(TO_CLIENT.flatMap((name) => pick(answered.headers[name], name))),
  );
  response.flushHeaders(); // So that a body of which nothing comes is one that ended short.
  const resumed = () => metrics.resumes.inc();
  const patience = path.kind === 'blob' && !goesOnByItself(request) ? options : { resumeMs: 0 };
  await passOn({ mirror, resumed }, patience, { request: asked, body: answered }, response, gone.signal);
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

function shown(path: Exclude<OciPath, { kind: 'base' }>): object {
  const reference = path.kind === 'blob' ? path.digest : (path.reference.digest ?? path.reference.tag);
  return { kind: path.kind, registry: path.registry, repository: path.repository, reference };
}
