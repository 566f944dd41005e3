import { setTimeout as delay } from 'node:timers/promises';
import type { Logger } from '../../common/log.ts';
import { type Claim, digestKey, type Provider, type Router, type Want } from '../swarm/router.ts';
import type { FirstBytes } from './first-bytes.ts';
import type { PeerMemory } from './peer-memory.ts';
import { isAble } from './pick-peer.ts';
import type { Resolver } from './resolver.ts';
import type { Progress } from './run-relay.ts';
import type { Postpone, Slots } from './slots.ts';
import type { WantedContent } from './transfer.ts';

export interface SourcesDeps {
  readonly resolver: Resolver;
  readonly router: Pick<Router, 'claim' | 'mayClaimFirst'>;
  readonly peers: PeerMemory;
  readonly slots: Slots;
  readonly firstBytes: FirstBytes;
  readonly log: Logger;
}

export interface SourcesRequest extends Progress {
  /** Undefined for what takes no slot, and for clients that would not come back. */
  readonly postpone?: Postpone | undefined;
}

/** How often one is told to follow somebody who then cannot send, before upstream is the better choice. */
const VAIN_CLAIMS_MAX = 8;
/**
 * And how long, while somebody is named who is not busy. One that is to fetch it and made room for other layers sends nothing until it is its turn, for
 * up to a second; who decides about claims replaces it sooner than this when it stays silent.
 */
const VAIN_MS_MIN = 2_500;
/** Who was named may be sending to enough others, and has not begun yet to receive. */
const CLAIM_AGAIN_MS = 50;

/**
 * Who has it; then, if this node is to keep it, those who are getting it, until this node is to fetch it from its registry. Where a claim answers for
 * both, it is the only question.
 */
export async function* findSources(
  { resolver, router, peers, slots, firstBytes, log }: SourcesDeps,
  wanted: WantedContent,
  { offset, absent, busy, postpone }: SourcesRequest,
  ended: AbortSignal,
): AsyncGenerator<readonly Provider[]> {
  const { digest, registry, isForStore } = wanted;
  const deferenceMs = isForStore ? firstBytes.deferenceMs(wanted) : 0;
  const want = (): Want => ({ offset: offset(), patienceMs: firstBytes.patienceMs(registry) });
  const ask = async (want: Want): Promise<Claim | undefined> => {
    const answered = postpone === undefined ? () => {} : await slots.mayLead(digest, postpone);
    if (answered === undefined) return undefined;
    try {
      if (ended.aborted) return undefined;
      const claim = await router.claim(digestKey(digest), want, ended);
      if (claim.role === 'lead' && postpone !== undefined && !ended.aborted) slots.led(digest);
      return claim;
    } finally {
      answered();
    }
  };
  const mayClaimFirst =
    isForStore && deferenceMs === 0 && router.mayClaimFirst() && (postpone === undefined || slots.mayLeadAtOnce());
  let first = mayClaimFirst ? await ask({ ...want(), isFirst: true }) : undefined;
  if (first === undefined || first.role === 'unknown') {
    first = undefined;
    yield* resolver.providers(digest, ended);
    if (deferenceMs > 0) await delay(deferenceMs, undefined, { signal: ended }).catch(() => {});
  } else if (first.role === 'held') {
    yield resolver.ordered(first.providers);
    first = undefined;
  }
  let askedAt = offset();
  let vainSinceMs = 0;
  for (let vain = 0; isForStore && !ended.aborted; ) {
    const claim = first ?? (await ask(want()));
    first = undefined;
    if (claim === undefined || claim.role === 'unknown') return;
    if (claim.role !== 'held') firstBytes.awaited(digest, registry);
    if (claim.role === 'lead') {
      log.debug('told to fetch it', { digest });
      firstBytes.led(wanted);
      return;
    }
    const able = claim.providers.filter((one) => isAble(peers.standing(one)) && !absent.has(one.address));
    log.debug('told whom to get it from', {
      digest,
      role: claim.role,
      named: claim.providers.length,
      able: able.length,
    });
    // Who has it was just asked in vain, and nobody else is getting it.
    if (able.length === 0 && claim.role === 'held') return;
    yield able;
    vain = offset() > askedAt ? 0 : vain + 1;
    askedAt = offset();
    if (vain === 0) continue;
    if (vain === 1) vainSinceMs = performance.now();
    const mayHelp = able.some(({ address }) => !busy.has(address)) && performance.now() - vainSinceMs < VAIN_MS_MIN;
    if (vain >= VAIN_CLAIMS_MAX && !mayHelp) return;
    await delay(CLAIM_AGAIN_MS, undefined, { signal: ended }).catch(() => {});
  }
}
