import type { Registry } from 'prom-client';
import type { SwarmKey } from '../../certs/swarm-key.ts';
import { MiroirError } from '../../common/errors.ts';
import type { HostPort } from '../../common/host-port.ts';
import type { Logger } from '../../common/log.ts';
import { parseDigest } from '../../common/oci/digest.ts';
import type { MembershipSource } from './membership.ts';
import type { SwarmMetrics } from './metrics.ts';
import type { Key, Provider, Router } from './router.ts';
import type { Session } from './session.ts';
import type { WireProvider } from './wire.ts';

export interface Libp2pRouterDeps {
  readonly log: Logger;
  readonly registry: Registry;
  readonly members: MembershipSource;
  /** Milliseconds of the wall clock, as in `TagRecord`. */
  readonly now: () => number;
  /** 0 to 1. */
  readonly random: () => number;
}

export interface Libp2pRouterOptions {
  readonly listen: HostPort;
  /** Where other members reach this node; undefined: at the address they see it at. */
  readonly advertiseHost: string | undefined;
  readonly peerPort: number;
  /** The first is in use, the others are accepted. */
  readonly keys: readonly SwarmKey[];
}

export interface Libp2pRouter extends Router {
  /** The port it really listens on; 0 while it does not. */
  readonly swarmPort: number;
}

export type NamedProvider = WireProvider & Required<Pick<WireProvider, 'peer'>>;

/** How long to wait for members to confirm what they were told: a hung one is found out later. */
const CONFIRM_MS_MAX = 2_000;

/** In an answer, who sent it stands without a name. */
export function named(found: WireProvider, { peerId, address }: Session): NamedProvider {
  return { ...found, peer: found.peer ?? { peerId, address } };
}

export function toProvider({ peer, tag }: NamedProvider, now: number): Provider {
  return { ...peer, ...(tag !== undefined && { tag: { digest: tag.digest, resolvedAtMs: now - tag.ageMs } }) };
}

export function isTag(key: Key): boolean {
  return parseDigest(key) === undefined;
}

/** Members may know a tag by different times: all of them are heard before the newest is named. */
export async function* merged(
  answers: AsyncIterable<readonly NamedProvider[]>,
): AsyncGenerator<readonly NamedProvider[]> {
  const all: NamedProvider[] = [];
  for await (const found of answers) all.push(...found);
  yield newestFirst(all);
}

export function newestFirst<P extends WireProvider>(providers: readonly P[]): readonly P[] {
  return providers.toSorted((a, b) => (a.tag?.ageMs ?? 0) - (b.tag?.ageMs ?? 0));
}

/** Passes the lookup on, and counts it by how it went. */
export async function* observed(
  lookup: AsyncIterable<Provider>,
  metrics: SwarmMetrics,
  signal: AbortSignal,
): AsyncGenerator<Provider> {
  const startedAt = performance.now();
  const observe = (result: 'found' | 'absent' | 'aborted') =>
    metrics.lookup(result, (performance.now() - startedAt) / 1000);
  let isFirst = true;
  for await (const provider of lookup) {
    if (isFirst) observe('found');
    isFirst = false;
    yield provider;
  }
  if (isFirst) observe(signal.aborted ? 'aborted' : 'absent');
}

/** Waits until all is confirmed, but not for long. Throws ERR_ABORTED. */
export async function confirmed(confirmations: ReadonlyArray<Promise<unknown>>, signal: AbortSignal): Promise<void> {
  const { promise: waited, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, CONFIRM_MS_MAX);
  const stopWaiting = () => resolve();
  signal.addEventListener('abort', stopWaiting);
  if (!signal.aborted) await Promise.race([Promise.all(confirmations), waited]);
  clearTimeout(timer);
  signal.removeEventListener('abort', stopWaiting);
  if (signal.aborted) throw new MiroirError('ERR_ABORTED', 'aborted', { cause: signal.reason });
}
