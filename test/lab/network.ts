import { enteringNetwork, run } from './namespace.ts';
import type { ProcessId } from './process-id.ts';

/** Bytes per second that a node's network card sends and receives; what is absent is not limited. */
export interface RateLimit {
  readonly send?: number;
  readonly receive?: number;
}

/** A burst has to hold the largest packet that a card without offloading limits takes, 64 KiB. */
const BURST = '128k';
/** How long a packet may wait for its turn before it is dropped, as a switch's buffer would. */
const QUEUE = '50ms';

/**
 * The card of who has this address, whenever it is plugged in: a machine that comes back has the card that it had. A bridge
 * without one of its own takes the lowest of those that are plugged into it, and nobody reaches it after that one is gone.
 */
export function cardOf(address: string): string {
  const bytes = address.split('.').map((part) => Number(part).toString(16).padStart(2, '0'));
  return ['02', '00', ...bytes].join(':');
}

/** Drops all packets between a node and these addresses, in both directions; with no address, none. */
export async function blockAddresses(
  holder: ProcessId,
  addresses: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  const rules = `
    add table ip lab
    delete table ip lab
    table ip lab {
      set blocked { type ipv4_addr; ${addresses.length > 0 ? `elements = { ${addresses.join(', ')} }` : ''} }
      chain in { type filter hook input priority 0; ip saddr @blocked drop; }
      chain out { type filter hook output priority 0; ip daddr @blocked drop; }
    }`;
  await run(enteringNetwork(holder, ['nft', '-f', '-']), { input: rules }, signal);
}

/** Shapes one end of a link: what it sends. Undefined removes the limit. */
export async function limitRate(
  holder: ProcessId,
  device: string,
  bytesPerSecond: number | undefined,
  signal: AbortSignal,
): Promise<void> {
  const rate = `${Math.round((bytesPerSecond ?? 0) * 8)}bit`;
  const bucket = ['tbf', 'rate', rate, 'burst', BURST, 'latency', QUEUE];
  const discipline = bytesPerSecond === undefined ? ['pfifo'] : bucket;
  await run(enteringNetwork(holder, ['tc', 'qdisc', 'replace', 'dev', device, 'root', ...discipline]), {}, signal);
}
