import { createHash } from 'node:crypto';
import { formatHostPort, type HostPort } from '../../common/host-port.ts';

/** A member as the source of members names it, and what dialing it has told. */
export interface Target {
  /** Its host and port as text. */
  readonly address: string;
  readonly hostPort: HostPort;
  /** Who answered there last. */
  peerId: string | undefined;
  /** It is this node. */
  isSelf: boolean;
  isDialing: boolean;
  /** Whether a dial has ended, well or not. */
  wasTried: boolean;
  failures: number;
  /** When it may be dialed again, on the plan's clock. */
  dueAt: number;
}

/** Which members to dial and when. It decides; its owner dials, and tells how that went. */
export interface DialPlan {
  readonly targets: ReadonlyMap<string, Target>;
  /** Takes all members there are now. Returns those that are members no more. */
  update(members: readonly HostPort[]): Target[];
  /** Marks as being dialed, and returns, the members whose time has come, as far as the dials at a time allow. */
  take(isConnected: (target: Target) => boolean): Target[];
  succeeded(target: Target, peerId: string): void;
  failed(target: Target): void;
  /** Whether each member was tried. False until the members are known. */
  isTried(isConnected: (target: Target) => boolean): boolean;
  /** Whether the member at this address keeps a part of the index. An address that no source names does if all do. */
  isKeeper(address: string | undefined): boolean;
}

interface DialPlanDeps {
  /** Monotonic milliseconds. */
  readonly now: () => number;
  /** 0 to 1. */
  readonly random: () => number;
}

/**
 * Up to so many members, everyone is connected to everyone. Beyond, so many of them keep the index and the others are
 * connected to these alone: connections, at some 50 KB each, must not grow with the square of the cluster.
 */
const KEEPERS_MAX = 128;
/** A handshake takes 10 ms of CPU at either end: more at a time would only wait for each other. */
const DIALS_AT_A_TIME_MAX = 16;
const BACKOFF_FIRST_MS = 250;
/** A member that comes back dials by itself; this is for when it cannot. */
const BACKOFF_MAX_MS = 10_000;

export function createDialPlan({ now, random }: DialPlanDeps): DialPlan {
  const targets = new Map<string, Target>();
  let keepers: ReadonlySet<string> | undefined;
  let isKnown = false;

  const isDialed = ({ address }: Target): boolean => keepers?.has(address) ?? true;

  return {
    targets,
    update: (members) => {
      isKnown = true;
      const addresses = new Set(members.map(formatHostPort));
      keepers = addresses.size > KEEPERS_MAX ? new Set(lowestHashes(addresses, KEEPERS_MAX)) : undefined;
      const removed = [...targets.values()].filter(({ address }) => !addresses.has(address));
      for (const { address } of removed) targets.delete(address);
      for (const hostPort of shuffle(members, random)) {
        const address = formatHostPort(hostPort);
        if (!targets.has(address)) targets.set(address, createTarget(address, hostPort, now()));
      }
      return removed;
    },
    take: (isConnected) => {
      const at = now();
      const due: Target[] = [];
      let dialing = 0;
      for (const target of targets.values()) {
        if (target.isDialing) dialing += 1;
        else if (!target.isSelf && target.dueAt <= at && isDialed(target) && !isConnected(target)) due.push(target);
      }
      const taken = due.slice(0, Math.max(0, DIALS_AT_A_TIME_MAX - dialing));
      for (const target of taken) target.isDialing = true;
      return taken;
    },
    succeeded: (target, peerId) => {
      Object.assign(target, { peerId, isDialing: false, wasTried: true, failures: 0, dueAt: now() });
    },
    failed: (target) => {
      const backoffMs = Math.min(BACKOFF_FIRST_MS * 2 ** target.failures, BACKOFF_MAX_MS);
      target.isDialing = false;
      target.wasTried = true;
      target.failures += 1;
      // Half of it is chance: members that failed together, as when a cluster starts, must not try together again.
      target.dueAt = now() + backoffMs * (0.5 + random() / 2);
    },
    isTried: (isConnected) =>
      isKnown &&
      [...targets.values()].every(
        (target) => target.wasTried || target.isSelf || !isDialed(target) || isConnected(target),
      ),
    isKeeper: (address) => keepers === undefined || (address !== undefined && keepers.has(address)),
  };
}

function createTarget(address: string, hostPort: HostPort, now: number): Target {
  return {
    address,
    hostPort,
    peerId: undefined,
    isSelf: false,
    isDialing: false,
    wasTried: false,
    failures: 0,
    dueAt: now,
  };
}

/** All members choose the same keepers, and one that comes or goes changes at most one of them. */
function lowestHashes(addresses: Iterable<string>, count: number): string[] {
  const hashed = [...addresses].map((address) => ({
    address,
    hash: createHash('sha256').update(address).digest('hex'),
  }));
  return hashed
    .sort((a, b) => (a.hash < b.hash ? -1 : 1))
    .slice(0, count)
    .map(({ address }) => address);
}

/** In the same order, all members would dial the same one first. */
function shuffle<T>(items: readonly T[], random: () => number): T[] {
  return items
    .map((item) => ({ item, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ item }) => item);
}
