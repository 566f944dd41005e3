import type { Breaker } from './breaker.ts';
import { bypassWarning } from './bypass.ts';
import type { RecordEvent } from './events.ts';
import type { GatePod } from './pods.ts';

export interface TellDeps {
  readonly recordEvent: RecordEvent;
  /** Milliseconds of a clock that never goes back. */
  readonly now: () => number;
}

export interface Teller {
  /** Tells what is other than it was when this was called last. */
  tell(breaker: Breaker, missed: readonly GatePod[], signal: AbortSignal): Promise<void>;
}

/** While admission is away more and more pods are missed: one Event now and then is enough. */
const MISSED_INTERVAL_MS = 600_000;

/** Events, on the namespace that Miroir runs in, of what concerns more than one node or pod. */
export function createTeller({ recordEvent, now }: TellDeps, namespace: string): Teller {
  const subject = { apiVersion: 'v1', kind: 'Namespace', name: namespace } as const;
  let reason: Breaker['block'];
  let missedTold = 0;
  let toldAt = -MISSED_INTERVAL_MS;

  return {
    tell: async ({ block }, missed, signal) => {
      if (block !== reason) {
        reason = block;
        const warning = bypassWarning('block', block);
        const text =
          warning === undefined
            ? ({ type: 'Normal', reason: 'block', message: 'miroir: gate mode block is applied again' } as const)
            : ({ type: 'Warning', reason: 'bypassed', message: warning } as const);
        await recordEvent(subject, text, signal);
      }
      missedTold = Math.min(missedTold, missed.length);
      const [first] = missed;
      if (first === undefined || missed.length === missedTold || now() - toldAt < MISSED_INTERVAL_MS) return;
      toldAt = now();
      missedTold = missed.length;
      const message = `${missed.length} pods that opted in run without the gate, as ${first.namespace}/${first.name}: restart what owns them`;
      await recordEvent(subject, { type: 'Warning', reason: 'missed', message }, signal);
    },
  };
}
