import type { Registry as MetricsRegistry } from 'prom-client';
import type { ReadinessCheck } from '../common/http/health-app.ts';
import type { DatedVerdict } from './node-verdict.ts';
import type { Member, Router } from './swarm/router.ts';

/** What `/status` answers, and `miroir status` reads. All figures are since the mirror started. */
export interface MirrorStatus {
  readonly version: string;
  readonly startedAt: string;
  readonly zone: string | undefined;
  readonly router: string;
  /** What is not ready yet, as `/readyz` says it. */
  readonly missing: readonly string[];
  /** Others that are connected. */
  readonly members: readonly Member[];
  readonly verdict: DatedVerdict;
  /** What this node holds and tells the others. */
  readonly held: { readonly digests: number; readonly tags: number };
  readonly registries: readonly RegistryStatus[];
}

/** What containerd asked for of one registry. */
export interface RegistryStatus {
  readonly registry: string;
  /** Requests that the registry was spared. */
  readonly sparedRequests: number;
  /** Bytes that the registry was spared. */
  readonly sparedBytes: number;
  /** Requests that went on to the registry, since no mirror had the content. */
  readonly missedRequests: number;
}

export interface StatusDeps {
  readonly router: Pick<Router, 'members'>;
  readonly verdict: { current(): DatedVerdict };
  readonly checks: readonly ReadinessCheck[];
  readonly metrics: MetricsRegistry;
}

export interface StatusOptions {
  readonly version: string;
  readonly startedAt: Date;
  readonly zone: string | undefined;
  readonly router: string;
}

/** Answers `/status`. Its figures are those of `/metrics`. */
export function createStatus(deps: StatusDeps, { startedAt, ...rest }: StatusOptions): () => Promise<MirrorStatus> {
  const { router, verdict, checks, metrics } = deps;
  return async () => {
    const held = await valuesOf(metrics, 'miroir_held_keys');
    const heldOf = (kind: string) => sum(held.filter(({ labels }) => labels['kind'] === kind));
    return {
      ...rest,
      startedAt: startedAt.toISOString(),
      missing: checks.flatMap(({ name, missing }) => {
        const what = missing();
        return what === undefined ? [] : [`${name}: ${what}`];
      }),
      members: router.members(),
      verdict: verdict.current(),
      held: { digests: heldOf('digest'), tags: heldOf('tag') },
      registries: await readRegistries(metrics),
    };
  };
}

interface Value {
  readonly labels: Readonly<Record<string, string | number | undefined>>;
  readonly value: number;
}

async function readRegistries(metrics: MetricsRegistry): Promise<readonly RegistryStatus[]> {
  const requests = await valuesOf(metrics, 'miroir_registry_requests_total');
  const bytes = await valuesOf(metrics, 'miroir_registry_sent_bytes_total');
  const names = new Set([...requests, ...bytes].map(({ labels }) => String(labels['registry'])));
  return [...names].toSorted().map((registry) => {
    const own = requests.filter(({ labels }) => labels['registry'] === registry);
    return {
      registry,
      sparedRequests: sum(own.filter(({ labels }) => labels['source'] !== 'none')),
      sparedBytes: sum(bytes.filter(({ labels }) => labels['registry'] === registry)),
      missedRequests: sum(own.filter(({ labels }) => labels['source'] === 'none')),
    };
  });
}

async function valuesOf(metrics: MetricsRegistry, name: string): Promise<readonly Value[]> {
  return (await metrics.getSingleMetric(name)?.get())?.values ?? [];
}

function sum(values: readonly Value[]): number {
  return values.reduce((total, { value }) => total + value, 0);
}
