import { MiroirError } from '../common/errors.ts';
import type { Registry } from '../common/oci/reference.ts';
import { type BlockMarks, formatBlock } from './hosts-block.ts';
import {
  formatHost,
  formatServer,
  formatSettings,
  type HostSettings,
  type HostsFile,
  parseHostsToml,
} from './hosts-toml.ts';
import { findFirstTable } from './toml-lines.ts';

export interface HostsMerge {
  readonly marks: BlockMarks;
  /** Where the registry is really reached; undefined when one URL cannot say it, as in `_default`. */
  readonly upstream: string | undefined;
  /** Whether the upstream was named by a person, so that containerd must be told of it as its last resort too. */
  readonly isUpstreamNamed: boolean;
  /** Whether the file serves registries that have no file of their own. */
  readonly isDefault: boolean;
  /** What containerd has used for this registry without the file, and would use no more once it is there. */
  readonly inherited: HostsFile;
}

/** A mirror on the same node answers a dial at once or not at all; read by containerd since 2.0.7 and 2.1. */
const DIAL_TIMEOUT = '200ms';

/**
 * Puts the mirror into a hosts.toml: `base`, as it is without us, and our block between its root keys and its first table.
 * Where tags come from the registry first and other hosts stand in the file, a second block follows at its end, since
 * hosts are asked in the file's order and `server` is last. Throws ERR_HOSTS_FILE_INVALID.
 */
export function mergeHosts(base: string, merge: HostsMerge, file: string): string {
  const own = parseHostsToml(base, file);
  const { marks, inherited, upstream } = merge;
  const mirror = `http://${marks.mirror}`;
  const pullOnly = `${mirror}/v2`; // Another key for the same place: TOML has each host once.
  for (const url of [mirror, pullOnly]) if (own.hosts.has(url)) throw alreadyListed(base, url, file);

  const server = own.server ?? inherited.server ?? (merge.isUpstreamNamed ? upstream : undefined);
  const rootSettings = without(inherited.root, own.root);
  const newServer = own.server === undefined && server !== undefined ? [formatServer(server)] : [];
  const head = [...newServer, ...formatSettings(rootSettings)];
  const inheritedHosts = [...inherited.hosts].filter(([url]) => !own.hosts.has(url));
  const others = inheritedHosts.flatMap(([url, settings]) => formatHost(url, settings));

  const first = formatHost(pullOnly, { capabilities: ['pull'], override_path: true, dial_timeout: DIAL_TIMEOUT });
  const whole = formatHost(mirror, { capabilities: ['pull', 'resolve'], dial_timeout: DIAL_TIMEOUT });
  const last = server ?? upstream;
  if (marks.tags === 'off') return insert(base, marks, [...head, ...first, ...others], [], file);
  if (marks.tags === 'mirror-first' || merge.isDefault)
    return insert(base, marks, [...head, ...whole, ...others], [], file);
  if (last === undefined) return insert(base, marks, [...head, ...first, ...others], [], file);

  const isListed = [...own.hosts.keys(), ...inherited.hosts.keys()].some((url) => isSameHost(url, last));
  const settings = { capabilities: ['pull', 'resolve'], ...inherited.root, ...own.root };
  const tail = [...(isListed ? [] : formatHost(last, settings)), ...whole];
  return own.hosts.size === 0
    ? insert(base, marks, [...head, ...first, ...others, ...tail], [], file)
    : insert(base, marks, [...head, ...first, ...others], tail, file);
}

/** Where containerd reaches a registry that it was told nothing about; undefined when it is not one URL. */
export function defaultUpstream(registry: Registry): string | undefined {
  // For registries on the node itself containerd tries https, unverified, and then http.
  if (/^(localhost|127(\.\d+){3}|\[::1\])(:\d+)?$/.test(registry)) return undefined;
  return registry === 'docker.io' ? 'https://registry-1.docker.io' : `https://${registry}`;
}

function insert(
  base: string,
  marks: BlockMarks,
  front: readonly string[],
  tail: readonly string[],
  file: string,
): string {
  const eol = base.includes('\r\n') ? '\r\n' : '\n';
  const at = findFirstTable(base);
  const before = base.slice(0, at);
  const withFront = before + formatBlock(marks, front, before, eol) + base.slice(at);
  const text = tail.length === 0 ? withFront : withFront + formatBlock(marks, tail, withFront, eol);
  assertMerged(base, text, file);
  return text;
}

/** containerd would drop a file that it cannot parse, without a word to the pull. */
function assertMerged(base: string, text: string, file: string): void {
  try {
    parseHostsToml(text, file);
  } catch (cause) {
    const line = lineOf(base, /^[^#\n]*\bhost\b/m);
    const message = `${file}:${line} says \`host\` in a way that no table can be added to: write it as [host."https://..."] tables`;
    throw new MiroirError('ERR_HOSTS_FILE_INVALID', message, { cause });
  }
}

function without(settings: HostSettings, others: HostSettings): HostSettings {
  return Object.fromEntries(Object.entries(settings).filter(([name]) => !Object.hasOwn(others, name)));
}

/** containerd reads a host without a scheme as https, and adds `/v2` to what lacks it. */
function isSameHost(one: string, other: string): boolean {
  const plain = (url: string) => (url.startsWith('http') ? url : `https://${url}`).replace(/\/*(\/v2)?\/*$/, '');
  return plain(one) === plain(other);
}

function alreadyListed(base: string, url: string, file: string): MiroirError {
  const line = lineOf(base, new RegExp(RegExp.escape(url)));
  const message = `${file}:${line} lists ${url} outside of Miroir's part: take that entry out, Miroir writes its own`;
  return new MiroirError('ERR_HOSTS_FILE_INVALID', message);
}

function lineOf(text: string, pattern: RegExp): number {
  return text.slice(0, Math.max(text.search(pattern), 0)).split('\n').length;
}
