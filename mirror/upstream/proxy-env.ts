/** What Node's agents take: proxies by scheme, and who is asked without one. */
export interface ProxyEnv {
  readonly http_proxy?: string;
  readonly https_proxy?: string;
  readonly no_proxy?: string;
}

/** A variable that says nothing which can be used. */
export interface ProxyMistake {
  readonly name: string;
}

/** Go's programs, containerd among them, reach themselves without a proxy. */
const LOOPBACK = ['localhost', '.localhost', '127.0.0.1-127.255.255.255', '[::1]', '::1'];

/**
 * The usual variables as containerd reads them (golang.org/x/net/http/httpproxy), put as Node reads them: there a name alone is
 * no domain, a proxy has a scheme, and a network is a range. Those of IPv6 are left out.
 */
export function parseProxyEnv(env: Readonly<Record<string, string | undefined>>): ProxyEnv | ProxyMistake {
  const proxies: { http_proxy?: string; https_proxy?: string } = {};
  for (const name of ['http_proxy', 'https_proxy'] as const) {
    const [set, text] = readVariable(env, name);
    if (text === '') continue;
    const url = URL.parse(/^[a-z0-9]+:\/\//i.test(text) ? text : `http://${text}`);
    if (url === null || !/^https?:$/.test(url.protocol) || url.hostname === '') return { name: set };
    proxies[name] = url.href;
  }
  const [, without] = readVariable(env, 'no_proxy');
  const entries = without.split(',').map((entry) => entry.trim().toLowerCase());
  return { ...proxies, no_proxy: [...LOOPBACK, ...entries.filter((entry) => entry !== '').flatMap(asNode)].join(',') };
}

/** In capitals first, as Go has it. */
function readVariable(env: Readonly<Record<string, string | undefined>>, name: string): readonly [string, string] {
  const upper = name.toUpperCase();
  return env[upper] ? [upper, env[upper].trim()] : [name, env[name]?.trim() ?? ''];
}

function asNode(entry: string): readonly string[] {
  const [, address, bits] = /^(\d{1,3}(?:\.\d{1,3}){3})\/(\d{1,2})$/.exec(entry) ?? [];
  if (address !== undefined) return rangeOf(address, Number(bits));
  if (entry === '*' || entry.startsWith('.') || /^[\d.:[\]]+$/.test(entry)) return [entry];
  return entry.startsWith('*.') ? [entry.slice(1)] : [entry, `.${entry}`];
}

/** `10.1.0.0/16` is `10.1.0.0-10.1.255.255`. */
function rangeOf(address: string, bits: number): readonly string[] {
  const parts = address.split('.').map(Number);
  if (bits > 32 || parts.some((part) => part > 255)) return [];
  const size = 2 ** (32 - bits);
  const first = Math.floor(parts.reduce((sum, part) => sum * 256 + part, 0) / size) * size;
  return [`${formatAddress(first)}-${formatAddress(first + size - 1)}`];
}

function formatAddress(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.');
}
