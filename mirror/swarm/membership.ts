import dns from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { isIP, SocketAddress } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { formatHostPort, type HostPort, parseHost, parseHostPort } from '../../common/host-port.ts';
import type { Logger } from '../../common/log.ts';

/** Who the members of the swarm are, by IP address and port. This node may be among them. */
export interface MembershipSource {
  /**
   * Yields all members at once and again whenever they change. A source that cannot tell repeats nothing: what it said
   * last holds. Ends when the signal aborts, or when it has nothing more to say.
   */
  watch(signal: AbortSignal): AsyncIterable<readonly HostPort[]>;
}

interface MembershipDeps {
  readonly log: Logger;
  /** All addresses of a name. Throws when it has none. */
  readonly resolve: (name: string) => Promise<readonly string[]>;
}

/** Members as people write them: a list, a DNS name with an address for each, or a file with one a line. */
export type MembershipList =
  | { readonly type: 'static'; readonly members: readonly string[] }
  | { readonly type: 'dns'; readonly name: string }
  | { readonly type: 'file'; readonly path: string };

interface MembershipOptions {
  readonly list: MembershipList;
  /** The port of members that are named without one. */
  readonly defaultPort: number;
  readonly intervalMs?: number;
}

/** With what it takes to drop a member after this, one that was removed is asked no more within the promised 10 s. */
const INTERVAL_MS = 3_000;
/** The largest cluster that Kubernetes supports has 5,000 nodes; each may have two addresses. */
const MEMBERS_MAX = 10_000;

/** By the system's resolver, so search domains and /etc/hosts count; it asks for A and AAAA records. */
export async function resolveHost(name: string): Promise<readonly string[]> {
  const found = await dns.lookup(name, { all: true, order: 'verbatim' });
  return found.map(({ address }) => address);
}

export function createMembership(deps: MembershipDeps, options: MembershipOptions): MembershipSource {
  return {
    async *watch(signal) {
      const lister = createLister(deps, options);
      const resolver = createResolver(deps);
      let last: string | undefined;
      while (!signal.aborted) {
        const entries = await lister();
        const members = await resolver(entries.slice(0, MEMBERS_MAX));
        if (signal.aborted) return;
        const text = members.map(formatHostPort).join();
        if (text !== last) yield members;
        last = text;
        const neverChanges = options.list.type === 'static' && entries.every(({ host }) => isIP(host) !== 0);
        if (neverChanges) return;
        await delay(options.intervalMs ?? INTERVAL_MS, undefined, { signal, ref: false }).catch(() => {});
      }
    },
  };
}

/** Parses a member as it is written in a list or a file: `host`, `host:port`, `[v6]:port`. */
function parseMember(text: string, defaultPort: number): HostPort | undefined {
  const withPort = parseHostPort(text);
  if (withPort !== undefined) return withPort;
  const host = parseHost(text);
  return host === undefined ? undefined : { host, port: defaultPort };
}

function createLister({ log }: MembershipDeps, { list, defaultPort }: MembershipOptions) {
  switch (list.type) {
    case 'static': {
      const entries = list.members.flatMap((member) => parseMember(member, defaultPort) ?? []);
      return async () => entries;
    }
    case 'dns':
      return async () => [{ host: list.name, port: defaultPort }];
    case 'file':
      return createFileLister(log, list.path, defaultPort);
  }
}

/** Reads the file each time: it is small, and a watch would miss the links that Kubernetes swaps. */
function createFileLister(log: Logger, path: string, defaultPort: number): () => Promise<readonly HostPort[]> {
  let lastText: string | undefined;
  let entries: readonly HostPort[] = [];
  let lastProblem: unknown;
  return async () => {
    try {
      const text = await readFile(path, 'utf8');
      if (text !== lastText) entries = parseMembersFile(log, path, text, defaultPort);
      lastText = text;
      lastProblem = undefined;
    } catch (error) {
      const problem = (error as NodeJS.ErrnoException).code;
      if (problem === 'ENOENT') entries = [];
      lastText = undefined;
      if (problem !== lastProblem) log.warn('members file cannot be read', { path, error });
      lastProblem = problem;
    }
    return entries;
  };
}

function parseMembersFile(log: Logger, path: string, text: string, defaultPort: number): readonly HostPort[] {
  const entries: HostPort[] = [];
  for (const [index, line] of text.split('\n').entries()) {
    const content = line.replace(/#.*/, '').trim();
    if (content === '') continue;
    const member = parseMember(content, defaultPort);
    if (member === undefined) log.warn('members file has a line that is no member', { path, line: index + 1 });
    else entries.push(member);
  }
  return entries;
}

/** Turns names into addresses. A name that cannot be resolved keeps the addresses it had. */
function createResolver({ log, resolve }: MembershipDeps) {
  const known = new Map<string, readonly string[]>();
  const failing = new Set<string>();

  const addressesOf = async (host: string): Promise<readonly string[]> => {
    if (isIP(host) !== 0) return [host];
    try {
      const addresses = await resolve(host);
      known.set(host, addresses);
      if (failing.delete(host)) log.info('member name resolves again', { name: host });
    } catch (error) {
      if (!failing.has(host)) log.warn('member name cannot be resolved', { name: host, error });
      failing.add(host);
    }
    return known.get(host) ?? [];
  };

  return async (entries: readonly HostPort[]): Promise<readonly HostPort[]> => {
    const resolved = await Promise.all(
      entries.map(async ({ host, port }) =>
        (await addressesOf(host)).map((address) => ({ host: canonicalIp(address), port })),
      ),
    );
    for (const name of known.keys()) {
      if (!entries.some(({ host }) => host === name)) known.delete(name);
    }
    const unique = new Map(resolved.flat().map((member) => [formatHostPort(member), member]));
    return [...unique.keys()].sort().map((text) => unique.get(text) as HostPort);
  };
}

/** One spelling an address, so that a member that is listed and one that connects are seen to be the same. */
export function canonicalIp(ip: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(ip)?.[1];
  if (mapped !== undefined) return mapped;
  return isIP(ip) === 6 ? new SocketAddress({ address: ip, family: 'ipv6' }).address : ip;
}
