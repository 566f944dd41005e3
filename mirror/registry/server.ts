import type { IncomingMessage, ServerResponse } from 'node:http';
import { MiroirError } from '../../common/errors.ts';
import { formatHostPort, type HostPort } from '../../common/host-port.ts';
import { parseRange } from '../../common/http/range.ts';
import type { Logger } from '../../common/log.ts';
import type { Registry } from '../../common/oci/reference.ts';
import type { Access, Permission, WantedRight } from '../access/access.ts';
import type { Source } from '../transfer/found-blob.ts';
import type { RegistryMetrics } from '../transfer/metrics.ts';
import type { FoundManifest, Transfer } from '../transfer/transfer.ts';
import { answerBase, answerBlobHead, answerManifest, answerRefusal, isContainerd, SOURCE_HEADER } from './answer.ts';
import { refusal } from './oci-error.ts';
import { type OciPath, parseOciPath } from './oci-path.ts';
import { createPullListener, type PullListener } from './pull-listener.ts';
import { createRegistryNames } from './registry-names.ts';
import { type Guard, isLoopbackAddress, refuseForeign, refuseRequest } from './request-guard.ts';

export interface RegistryServerDeps {
  readonly transfer: Transfer;
  readonly log: Logger;
  readonly metrics: RegistryMetrics;
  readonly introductions: Introductions;
  readonly access: Access;
  /** Whether it would answer later than a registry: then it answers 404 to all at once. */
  readonly isTooBusy: () => boolean;
}

export type PodServerDeps = Omit<RegistryServerDeps, 'introductions'>;

/** Whoever configures containerd for registries that nobody listed. */
export interface Introductions {
  /**
   * Called for each tag that is asked for. True when the registry was not configured until now: then the tag is answered
   * by 404, so that this pull resolves it upstream, and by the next one containerd knows in which order to ask.
   */
  isFirstSeen(registry: Registry, signal: AbortSignal): Promise<boolean>;
}

export interface RegistryServerOptions {
  readonly address: HostPort;
  /** The registries that are mirrored; empty for all. */
  readonly registries: readonly Registry[];
}

const NOT_MIRRORED = refusal(404, 'NAME_UNKNOWN', 'this registry is not mirrored');
const NO_MANIFEST = refusal(404, 'MANIFEST_UNKNOWN', 'no mirror has this manifest');
const NO_BLOB = refusal(404, 'BLOB_UNKNOWN', 'no mirror has this blob');
const WHO_ASKS = refusal(401, 'UNAUTHORIZED', 'its registry has to be told who asks for this');
const NOT_YOURS = refusal(403, 'DENIED', 'nothing proves that whoever asks may read this');
const TOO_BUSY = refusal(404, 'NAME_UNKNOWN', 'this mirror is too busy to be of help');
/** containerd repeats the request with the pod's own pull secret, which it would send to the registry. */
const CHALLENGE = 'Basic realm="miroir"';

/** What containerd pulls from. Throws ERR_CONFIG_INVALID for an address that others could reach: whoever connects is served. */
export function createRegistryServer(deps: RegistryServerDeps, options: RegistryServerOptions): PullListener {
  if (!isLoopbackAddress(options.address.host)) {
    const address = formatHostPort(options.address);
    throw new MiroirError('ERR_CONFIG_INVALID', `the registry must listen on a loopback address, not on ${address}`);
  }
  return createServer({ ...deps, guard: async (request) => refuseForeign(request), isForStore: isContainerd }, options);
}

/** What agents in pods pull from, where the guard lets them. No word of a pod's makes the node's containerd be configured. */
export function createPodServer(
  deps: PodServerDeps & { readonly guard: Guard },
  options: RegistryServerOptions,
): PullListener {
  const introductions = { isFirstSeen: async () => false };
  return createServer({ ...deps, introductions, isForStore: () => false }, options);
}

interface ServerDeps extends RegistryServerDeps {
  readonly guard: Guard;
  /** Whether what is asked for goes into the store of this node. */
  readonly isForStore: (request: IncomingMessage) => boolean;
}

function createServer(deps: ServerDeps, { address, registries }: RegistryServerOptions): PullListener {
  const context: Context = { ...deps, registries: new Set(registries), nameOf: createRegistryNames(registries) };
  const { log } = deps;
  return createPullListener({ log, handle: (request, response) => handle(context, request, response) }, address);
}

interface Context extends ServerDeps {
  readonly registries: ReadonlySet<Registry>;
  readonly nameOf: ReturnType<typeof createRegistryNames>;
}

type ManifestPath = Extract<OciPath, { kind: 'manifest' }>;
type BlobPath = Extract<OciPath, { kind: 'blob' }>;

async function handle(context: Context, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const refused = refuseRequest(request);
  if (refused !== undefined)
    return answerRefusal(request, response, refused, { Allow: 'GET, HEAD', Connection: 'close' });
  const foreign = await context.guard(request);
  if (foreign !== undefined) return answerRefusal(request, response, foreign);
  const path = parseOciPath(request.url ?? '');
  if ('refused' in path) return answerRefusal(request, response, path.refused);
  if (path.kind === 'base') return answerBase(request, response);
  if (path.registry !== undefined && context.registries.size > 0 && !context.registries.has(path.registry)) {
    return answerRefusal(request, response, NOT_MIRRORED);
  }
  if (context.isTooBusy()) {
    context.metrics.shed.inc();
    return answerRefusal(request, response, TOO_BUSY);
  }
  const startedAt = performance.now();
  const told = (source: Source | 'none') => {
    const seconds = (performance.now() - startedAt) / 1000;
    const registry = context.nameOf(path.registry, source !== 'none');
    context.metrics.requests.inc({ kind: path.kind, source, registry });
    context.metrics.firstByteSeconds.observe({ kind: path.kind, source }, seconds);
  };
  if (path.kind === 'manifest') return answerWithManifest(context, request, response, path, told);
  return answerWithBlob(context, request, response, path, told);
}

async function answerWithManifest(
  context: Context,
  request: IncomingMessage,
  response: ServerResponse,
  path: ManifestPath,
  told: (source: Source | 'none') => void,
): Promise<void> {
  const { registry, repository, reference } = path;
  const { digest } = reference;
  const wanted = digest && ({ kind: 'manifest', registry, repository, digest } as const);
  const asks = { request, response, path, told };
  if (wanted !== undefined && isForbidden(context, asks, wanted)) return;
  const recent = digest === undefined ? undefined : context.transfer.recentManifest(digest);
  const signal = whileOpen(response);
  const found = recent ?? (await findManifest(context, path, context.isForStore(request), signal));
  if (found === undefined) {
    told('none');
    logAnswer(context, request, path, 'none');
    if (wanted !== undefined && context.isForStore(request)) context.access.leftToRegistry(wanted);
    return answerRefusal(request, response, NO_MANIFEST);
  }
  const content = { kind: 'manifest', registry, repository, digest: found.manifest.digest } as const;
  context.access.found(content, found.manifest.bytes, digest === undefined);
  if (!(await isPermitted(context, asks, content, signal))) return;
  told(found.source);
  logAnswer(context, request, path, found.source);
  answerManifest(request, response, found.manifest, { [SOURCE_HEADER]: found.source });
  if (request.method === 'GET') countBytes(context, path, found.source, found.manifest.bytes.length);
}

async function findManifest(
  { transfer, introductions }: Context,
  { registry, repository, reference }: ManifestPath,
  isForStore: boolean,
  signal: AbortSignal,
): Promise<FoundManifest | undefined> {
  if (reference.digest !== undefined) {
    return transfer.manifest(
      { digest: reference.digest, repository, isForStore, ...(registry && { registry }) },
      signal,
    );
  }
  // A tag means nothing without its registry.
  if (registry === undefined || (await introductions.isFirstSeen(registry, signal))) return undefined;
  return transfer.tag({ registry, repository, tag: reference.tag }, signal);
}

async function answerWithBlob(
  context: Context,
  request: IncomingMessage,
  response: ServerResponse,
  path: BlobPath,
  told: (source: Source | 'none') => void,
): Promise<void> {
  const { transfer } = context;
  const asks = { request, response, path, told };
  if (isForbidden(context, asks, path)) return;
  const signal = whileOpen(response);
  if (request.method === 'HEAD') {
    const size = await transfer.blobSize(path, signal);
    if (size !== undefined && !(await isPermitted(context, asks, path, signal))) return;
    told(size?.source ?? 'none');
    if (size === undefined) return answerRefusal(request, response, NO_BLOB);
    answerBlobHead(request, response, { ...size, digest: path.digest }, undefined);
    return;
  }
  // Without a validator of ours there is nothing that If-Range could match (RFC 9110, 13.1.5).
  const asked = request.headers['if-range'] === undefined ? parseRange(request.headers.range) : undefined;
  const blob = await transfer.blob({ ...path, isForStore: context.isForStore(request) }, asked, signal);
  if (blob === undefined) {
    told('none');
    logAnswer(context, request, path, 'none');
    return answerRefusal(request, response, NO_BLOB);
  }
  const begin = async () => {
    if (!(await isPermitted(context, asks, path, signal))) return undefined;
    told(blob.source);
    return answerBlobHead(request, response, blob, asked);
  };
  const body = await begin().catch(async (error: unknown) => {
    await blob.close();
    throw error;
  });
  if (body === undefined) return blob.close();
  const outcome = await blob.send(body.range, body.sink);
  // Whoever was sent on resumes behind what it got here; whoever left may have thrown that away.
  if (outcome !== 'client-gone') countBytes(context, path, blob.source, body.sink.takenBytes);
  logAnswer(context, request, path, blob.source, outcome);
}

interface Asks {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly path: ManifestPath | BlobPath;
  readonly told: (source: 'none') => void;
}

/** Answers at once whoever is known to have no right to it, before anybody looks for it. */
function isForbidden(context: Context, asks: Asks, wanted: WantedRight): boolean {
  const permission = context.access.known(wanted, asks.request.headers.authorization);
  return permission !== undefined && answerForbidden(context, asks, permission);
}

/** For what is there: answers whoever has no right to it, after asking its registry. */
async function isPermitted(context: Context, asks: Asks, wanted: WantedRight, signal: AbortSignal): Promise<boolean> {
  const { authorization } = asks.request.headers;
  const known = context.access.known(wanted, authorization);
  return !answerForbidden(context, asks, known ?? (await context.access.ask(wanted, authorization, signal)));
}

/** False when there is nothing to forbid. */
function answerForbidden(context: Context, { request, response, path, told }: Asks, permission: Permission): boolean {
  if (permission === 'granted') return false;
  told('none');
  logAnswer(context, request, path, 'none', permission);
  if (permission === 'challenge') answerRefusal(request, response, WHO_ASKS, { 'WWW-Authenticate': CHALLENGE });
  else answerRefusal(request, response, NOT_YOURS);
  return true;
}

function countBytes({ metrics, nameOf }: Context, path: ManifestPath | BlobPath, source: Source, bytes: number): void {
  metrics.bytes.inc({ source, registry: nameOf(path.registry, true) }, bytes);
}

/** One line a request; of its target only what was parsed. */
function logAnswer(
  { log }: Context,
  { method }: IncomingMessage,
  path: ManifestPath | BlobPath,
  source: Source | 'none',
  outcome?: string,
): void {
  const reference = path.kind === 'blob' ? path.digest : (path.reference.digest ?? path.reference.tag);
  const { kind, registry, repository } = path;
  log.debug('request', { method, kind, registry, repository, reference, source, ...(outcome && { outcome }) });
}

/** Aborts when the client goes before its answer is complete. */
function whileOpen(response: ServerResponse): AbortSignal {
  const controller = new AbortController();
  response.once('close', () => {
    if (!response.writableFinished) controller.abort();
  });
  return controller.signal;
}
