import { isIPv4, isIPv6 } from 'node:net';

/** Where something listens or is reached. An IPv6 host stands here without its brackets. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** A DNS name is at most 253 characters (RFC 1035, without the root's dot); no IP address is longer. */
const HOST_LENGTH_MAX = 253;
const HOST_NAME = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/i;

/** Parses 1 to 65535 in plain decimal: Number() alone would take '0x50' and ' 80'. */
function parsePort(text: string): number | undefined {
  if (!/^[1-9]\d{0,4}$/.test(text)) return undefined;
  const port = Number(text);
  return port <= 65_535 ? port : undefined;
}

/** Parses an IPv4 or IPv6 address or a host name, without a port; brackets around IPv6 are taken off. */
export function parseHost(text: string): string | undefined {
  if (text.startsWith('[')) {
    const inner = text.endsWith(']') ? text.slice(1, -1) : '';
    return isIPv6(inner) ? inner : undefined;
  }
  if (isIPv4(text) || isIPv6(text)) return text;
  // All digits and dots that is no IPv4 address is a mistyped one, never a name (RFC 3696: a top-level name is not numeric).
  if (text.length > HOST_LENGTH_MAX || /(?:^|\.)\d+$/.test(text)) return undefined;
  return HOST_NAME.test(text) ? text : undefined;
}

/** Parses `host:port`, `1.2.3.4:port` or `[v6]:port`. */
export function parseHostPort(text: string): HostPort | undefined {
  const colon = text.lastIndexOf(':');
  if (colon < 0) return undefined;
  const hostText = text.slice(0, colon);
  // `fd00::1:80` is one IPv6 address; only brackets tell an address and its port apart.
  if (hostText.includes(':') && !hostText.startsWith('[')) return undefined;
  const host = parseHost(hostText);
  const port = parsePort(text.slice(colon + 1));
  return host === undefined || port === undefined ? undefined : { host, port };
}

/** The opposite of `parseHostPort`, and what a URL takes. */
export function formatHostPort({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
