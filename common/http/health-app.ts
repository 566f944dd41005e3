import fastify, { type FastifyInstance } from 'fastify';
import type { Registry as MetricsRegistry } from 'prom-client';

/** One thing that must work before the process is of use, and whether it does. */
export interface ReadinessCheck {
  readonly name: string;
  /** What is missing, in words for the person who reads `/readyz`; undefined when ready. */
  readonly missing: () => string | undefined;
}

export interface HealthDeps {
  readonly checks: readonly ReadinessCheck[];
  readonly metrics: MetricsRegistry;
  /** Further paths, and what is answered there as JSON. */
  readonly pages: Readonly<Record<string, () => unknown>>;
}

/** Probes and scrapes are small; nothing else is taken in. */
const REQUEST_BYTES_MAX = 1024;
/** A scraper that does not send its request by then is cut off. */
const REQUEST_TIMEOUT_MS = 10_000;

/** The plain listener for the kubelet, Prometheus and `miroir status`. It answers nothing about any image. */
export function createHealthApp(deps: HealthDeps): FastifyInstance {
  const app = fastify({
    logger: false,
    bodyLimit: REQUEST_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    forceCloseConnections: true,
  });
  app.get('/livez', () => 'ok\n');
  app.get('/readyz', (_request, reply) => {
    const missing = deps.checks.flatMap(({ name, missing }) => {
      const what = missing();
      return what === undefined ? [] : [`${name}: ${what}\n`];
    });
    return missing.length === 0 ? 'ok\n' : reply.code(503).send(missing.join(''));
  });
  app.get('/metrics', async (_request, reply) => {
    const text = await deps.metrics.metrics();
    return reply.type(deps.metrics.contentType).send(text);
  });
  for (const [path, answer] of Object.entries(deps.pages)) app.get(path, () => answer());
  return app;
}
