import { setTimeout as delay } from 'node:timers/promises';
import { MiroirError } from '../common/errors.ts';
import type { Logger } from '../common/log.ts';
import type { ContainerdClient, ContainerdEvent } from './api/client.ts';

/**
 * `subscribed`: events flow from now on, and some may have been lost before, so whoever follows them lists again.
 * `lost`: none will come until the next `subscribed`.
 */
export type FollowedEvent = ContainerdEvent | { readonly type: 'subscribed' | 'lost' };

export interface FollowEventsDeps {
  readonly client: Pick<ContainerdClient, 'events' | 'serverVersion'>;
  readonly log: Logger;
}

/** containerd restarts in about a second; the first tries find it back quickly, and a dead one costs little. */
const RETRY_FIRST_MS = 50;
const RETRY_MAX_MS = 2_000;

/** containerd's events, across its restarts, until the signal aborts. It throws for nothing else than faults. */
export async function* followEvents(deps: FollowEventsDeps, signal: AbortSignal): AsyncGenerator<FollowedEvent> {
  const { client, log } = deps;
  let retryMs = RETRY_FIRST_MS;
  let hasWarned = false;
  while (!signal.aborted) {
    const subscription = new AbortController();
    try {
      const events = client.events(AbortSignal.any([signal, subscription.signal]))[Symbol.asyncIterator]();
      let next = events.next(); // Sends the request.
      next.catch(() => {}); // Thrown where it is awaited.
      // containerd acknowledges a subscription only with its first event. Requests on one connection start in order.
      await client.serverVersion(signal);
      if (hasWarned) log.info('containerd is back');
      hasWarned = false;
      retryMs = RETRY_FIRST_MS;
      yield { type: 'subscribed' };
      for (let { done, value } = await next; !done; { done, value } = await next) {
        next = events.next();
        next.catch(() => {});
        yield value as ContainerdEvent;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof MiroirError)) throw error;
      if (!hasWarned) log.warn('containerd went away; waiting for it', { error });
      hasWarned = true;
      yield { type: 'lost' };
    } finally {
      subscription.abort();
    }
    await delay(retryMs, undefined, { signal }).catch(() => {});
    retryMs = Math.min(retryMs * 2, RETRY_MAX_MS);
  }
}
