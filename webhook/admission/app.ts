import type https from 'node:https';
import fastify, { type FastifyHttpsOptions, type FastifyInstance } from 'fastify';
import type { Logger } from '../../common/log.ts';
import type { Decision } from '../decision.ts';
import { type AdmissionContext, type Mutation, mutatePod, type NamespaceView } from './mutate-pod.ts';
import { parsePod } from './pod.ts';
import { failOpen, formatReview, parseReview, type ReviewRequest } from './review.ts';
import { thinkingTimeMs } from './review-timeout.ts';

export interface AdmissionMetrics {
  reviewed(decision: Decision, seconds: number): void;
}

export interface AdmissionDeps {
  /** Undefined when there is none of that name. Throws when nobody can tell, and when the signal aborts. */
  readonly findNamespace: (name: string, signal: AbortSignal) => Promise<NamespaceView | undefined>;
  /** What decides besides the pod and its namespace, at this moment. */
  readonly context: () => Omit<AdmissionContext, 'namespace'>;
  readonly metrics: AdmissionMetrics;
  readonly log: Logger;
}

/** The apiserver takes no request over 3 MiB; a review holds the pod once, and JSON may write it larger. */
const BODY_BYTES_MAX = 8 * 1024 * 1024;
/** The apiserver closes its idle connections after 90 s: who closes first may do so on a request that is on its way. */
const KEEP_ALIVE_MS = 120_000;
/** No review takes longer to arrive; nobody holds a connection by sending nothing. */
const REQUEST_TIMEOUT_MS = 30_000;

export type AdmissionApp = FastifyInstance<https.Server>;

/** What the apiserver asks about new pods. Everything is let through; what goes wrong is said, counted and logged. */
export function createAdmissionApp(deps: AdmissionDeps): AdmissionApp {
  const options: FastifyHttpsOptions<https.Server> = {
    logger: false,
    https: {},
    bodyLimit: BODY_BYTES_MAX,
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // A 503 would be a review that is dropped: while stopping, all are answered.
    return503OnClosing: false,
    forceCloseConnections: 'idle',
    // Nothing of a review is merged into anything, and a pod with such a name in it is a pod.
    onProtoPoisoning: 'ignore',
    onConstructorPoisoning: 'ignore',
  };
  const app = fastify(options);
  app.post<{ Body: unknown; Querystring: { timeout?: unknown } }>('/mutate-pods', async (request, reply) => {
    const startedAt = performance.now();
    const review = parseReview(request.body);
    if (review === undefined) return reply.code(400).send({ error: 'this is no AdmissionReview with a uid' });
    const signal = AbortSignal.timeout(thinkingTimeMs(request.query.timeout));
    const mutation = await decide(deps, review.request, signal);
    deps.metrics.reviewed(mutation.decision, (performance.now() - startedAt) / 1000);
    return formatReview(review, mutation);
  });
  return app;
}

async function decide(deps: AdmissionDeps, request: ReviewRequest | undefined, signal: AbortSignal): Promise<Mutation> {
  try {
    if (request === undefined) return failOpen('review-invalid');
    if (!request.isNewPod)
      return { decision: { outcome: 'skipped', reason: 'not-a-new-pod' }, patch: [], warnings: [] };
    const pod = parsePod(request.object);
    if (pod === undefined) return failOpen('pod-invalid');
    const namespace = await findNamespace(deps, request.namespace, signal);
    if (namespace === undefined) return failOpen('namespace-unknown');
    return mutatePod(pod, { ...deps.context(), namespace });
  } catch (error) {
    deps.log.error('A review failed: this is a bug in miroir', { error });
    return failOpen('fault');
  }
}

/** Gives up by itself when the time is over: who looks may hang. */
async function findNamespace(
  { findNamespace: find, log }: AdmissionDeps,
  name: string,
  signal: AbortSignal,
): Promise<NamespaceView | undefined> {
  const late = Promise.withResolvers<never>();
  const giveUp = () => late.reject(signal.reason);
  signal.addEventListener('abort', giveUp, { once: true });
  try {
    return await Promise.race([find(name, signal), late.promise]);
  } catch (error) {
    log.warn('A namespace could not be looked up', { namespace: name, error });
    return undefined;
  } finally {
    signal.removeEventListener('abort', giveUp);
  }
}
