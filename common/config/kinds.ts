import { isIP } from 'node:net';
import path from 'node:path';
import { formatHostPort, type HostPort, parseHost, parseHostPort } from '../host-port.ts';
import { parseRegistry, type Registry } from '../oci/reference.ts';
import { quote } from './quote.ts';
import type { Kind, Parsed, Problem } from './setting.ts';

/** A list that is longer than this belongs in a file or in DNS, and a typo must not cost memory. */
const LIST_ITEMS_MAX = 1024;
/** PATH_MAX of Linux, with its closing NUL. */
const PATH_BYTES_MAX = 4095;
/** `sun_path` of Linux holds 108 bytes with its closing NUL: connecting to a longer one is refused. */
const SOCKET_PATH_BYTES_MAX = 107;
/** What Kubernetes allows for a label's value, which is where zones come from. */
const ZONE_LENGTH_MAX = 63;
/** What DNS allows between two dots. */
const LABEL_LENGTH_MAX = 63;
/** containerd's own limit for identifiers. */
const IDENTIFIER_LENGTH_MAX = 76;

/** A name of 255 characters, a tag of 128 and a digest of 71, with what stands between them. */
const IMAGE_LENGTH_MAX = 456;

/** A registry to mirror. */
export interface MirroredRegistry {
  readonly name: Registry;
  /** Where it is really reached, when that is not `https://<name>`. */
  readonly upstream?: string;
}

function problem(wrong: string, fix: string): { readonly problems: readonly Problem[] } {
  return { problems: [{ wrong, fix }] };
}

export const hostPort: Kind<HostPort> = {
  placeholder: 'host:port',
  parse: (text) => {
    const value = parseHostPort(text);
    if (value !== undefined) return { value };
    return problem(
      `${quote(text)} is not an address and a port`,
      'write it as 10.0.0.7:29982, [fd00::7]:29982 or node-1:29982, with a port of 1 to 65535',
    );
  },
};

/**
 * Where containerd finds the mirror of its own node. Only IPv4: containerd 1.6 and 1.7 drop a whole hosts.toml that names
 * an IPv6 address.
 */
export const loopbackPort: Kind<HostPort> = {
  placeholder: 'host:port',
  parse: (text) => {
    const value = parseHostPort(text);
    return value !== undefined && isIP(value.host) === 4 && value.host.startsWith('127.')
      ? { value }
      : problem(
          `${quote(text)} is not an IPv4 loopback address and a port`,
          'write it as 127.0.0.1:29981: whoever reaches it is served, so it is for this node alone',
        );
  },
};

/** A host without a port. */
export const host: Kind<string> = {
  placeholder: 'host',
  parse: (text) => {
    const value = parseHost(text);
    if (value !== undefined) return { value };
    const hasPort = parseHostPort(text) !== undefined;
    return hasPort
      ? problem(`${quote(text)} has a port`, 'leave the port out: it is taken from the listening address')
      : problem(`${quote(text)} is neither an IP address nor a host name`, 'write it as 10.0.0.7, fd00::7 or node-1');
  },
};

export const filePath: Kind<string> = {
  placeholder: 'path',
  parse: (text) => parsePath(text, PATH_BYTES_MAX),
};

export const socketPath: Kind<string> = {
  placeholder: 'path',
  // The kubelet and crictl write sockets as unix:///run/...: take what people copy from there.
  parse: (text) => parsePath(text.replace(/^unix:\/\/(?=\/)/, ''), SOCKET_PATH_BYTES_MAX),
};

/** A file that holds a secret. Whoever gives the secret itself must not see it in a log. */
export const secretPath: Kind<string> = {
  placeholder: 'path',
  parse: (text) =>
    /^[0-9a-f]{32,}$/i.test(text)
      ? problem(
          'it is a key, not the path of a file with a key',
          'write the key into a file that only root can read, name that file here, and replace the key: it was on a command line',
        )
      : parsePath(text, PATH_BYTES_MAX),
};

function parsePath(text: string, bytesMax: number): Parsed<string> {
  if (/\p{Cc}/u.test(text)) return problem(`${quote(text)} has control characters`, 'write a plain path');
  const resolved = path.resolve(text);
  const bytes = Buffer.byteLength(resolved);
  if (bytes > bytesMax) {
    return problem(`${quote(text)} is ${bytes} bytes long`, `use a path of at most ${bytesMax} bytes`);
  }
  return { value: resolved };
}

/** One of a few words. */
export function oneOf<const W extends string>(...words: readonly W[]): Kind<W> {
  return {
    placeholder: words.join('|'),
    parse: (text) => {
      const value = words.find((word) => word === text);
      return value === undefined
        ? problem(`${quote(text)} is not one of its values`, `use one of ${words.join(', ')}`)
        : { value };
    },
  };
}

export const onOff: Kind<boolean> = {
  placeholder: 'on|off',
  parse: (text) =>
    text === 'on' || text === 'off'
      ? { value: text === 'on' }
      : problem(`${quote(text)} is neither on nor off`, 'use on or off'),
};

export const zone: Kind<string> = {
  placeholder: 'name',
  parse: (text) =>
    text.length <= ZONE_LENGTH_MAX && /^[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?$/i.test(text)
      ? { value: text }
      : problem(
          `${quote(text)} is not a zone`,
          `use at most ${ZONE_LENGTH_MAX} letters, digits, '-', '_' and '.', as in the value of topology.kubernetes.io/zone`,
        ),
};

export const containerdNamespace: Kind<string> = {
  placeholder: 'name',
  parse: (text) =>
    text.length <= IDENTIFIER_LENGTH_MAX && /^[a-z0-9]+(?:[._-][a-z0-9]+)*$/i.test(text)
      ? { value: text }
      : problem(`${quote(text)} is not a containerd namespace`, 'Kubernetes uses k8s.io, nerdctl and ctr use default'),
};

/** The name of a namespace, and of a Service (RFC 1123 label). */
export const kubernetesName: Kind<string> = {
  placeholder: 'name',
  parse: (text) =>
    text.length <= LABEL_LENGTH_MAX && /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?$/.test(text)
      ? { value: text }
      : problem(`${quote(text)} is not a name in Kubernetes`, "use at most 63 small letters, digits and '-'"),
};

/** Labels that must be there with these values: of what Kubernetes offers, the part that is a plain list. */
export const labelSelector: Kind<string> = {
  placeholder: 'label=value,...',
  parse: (text) => {
    const wrong = text.split(',').find((item) => !/^(?:[a-z0-9.-]+\/)?[\w.-]{1,63}=[\w.-]{0,63}$/i.test(item.trim()));
    return wrong === undefined
      ? { value: text.replaceAll(' ', '') }
      : problem(`${quote(wrong)} is not a label and its value`, 'write it as app.kubernetes.io/name=miroir');
  },
};

export const port: Kind<number> = {
  placeholder: 'port',
  parse: (text) => {
    const value = parseHostPort(`host:${text}`)?.port;
    return value === undefined ? problem(`${quote(text)} is not a port`, 'use 1 to 65535') : { value };
  },
};

/** 0 to 1, from a percentage. */
export const percentage: Kind<number> = {
  placeholder: 'percent',
  parse: (text) => {
    const [, digits] = /^(\d{1,3})%?$/.exec(text) ?? [];
    return digits === undefined || Number(digits) > 100
      ? problem(`${quote(text)} is not a percentage`, 'use a whole number of 0 to 100')
      : { value: Number(digits) / 100 };
  },
};

/** A whole number of at least 1. */
export function count(max: number): Kind<number> {
  return {
    placeholder: 'number',
    parse: (text) => {
      const value = /^[1-9]\d{0,8}$/.test(text) ? Number(text) : Number.POSITIVE_INFINITY;
      return value <= max ? { value } : problem(`${quote(text)} is not a number of 1 to ${max}`, `use 1 to ${max}`);
    },
  };
}

const UNIT_BYTES = { KB: 1e3, MB: 1e6, GB: 1e9 } as const;
/** Slower than this nobody is served in time. */
const RATE_MIN = 100 * UNIT_BYTES.KB;

/** Bytes per second. */
export const byteRate: Kind<number> = {
  placeholder: 'rate',
  parse: (text) => {
    const [, digits, unit] = /^([1-9]\d{0,5})(KB|MB|GB)(?:\/s)?$/.exec(text) ?? [];
    const value = Number(digits) * UNIT_BYTES[unit as keyof typeof UNIT_BYTES];
    return value >= RATE_MIN
      ? { value }
      : problem(`${quote(text)} is not a rate`, 'write it in bytes per second, as 500KB, 50MB or 1GB; at least 100KB');
  },
};

const UNIT_MS = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;
/** Beyond it timers end at once: 2^31 ms are 24 days. */
const DURATION_MS_MAX = 14 * 24 * UNIT_MS.h;

/** Milliseconds. */
export const duration: Kind<number> = {
  placeholder: 'duration',
  parse: (text) => {
    const [, digits, unit] = /^([1-9]\d{0,8})(ms|s|m|h)$/.exec(text) ?? [];
    const ms = Number(digits) * UNIT_MS[unit as keyof typeof UNIT_MS];
    return ms <= DURATION_MS_MAX
      ? { value: ms }
      : problem(`${quote(text)} is not a duration`, 'write it as 500ms, 15s, 5m or 1h; the longest is 336h');
  },
};

/** A DNS name that is looked up; an IP address would never change. */
export const dnsName: Kind<string> = {
  placeholder: 'name',
  parse: (text) => {
    const name = parseHost(text.replace(/\.$/, ''));
    return name === undefined || isIP(name) !== 0
      ? problem(
          `${quote(text)} is not a DNS name`,
          'write the name of a headless Service, as in miroir-swarm.miroir.svc.cluster.local, without a port; addresses go into --members',
        )
      : { value: name };
  },
};

/** A registry as image names have it. */
export const registry: Kind<Registry> = {
  placeholder: 'name',
  parse: (text) => {
    const value = parseRegistry(text);
    return value === undefined
      ? problem(`${quote(text)} is not a registry`, 'write it as image names do, as in docker.io or localhost:5000')
      : { value };
  },
};

export const members: Kind<readonly string[]> = list('host[:port],...', (item) => {
  const withPort = parseHostPort(item);
  if (withPort !== undefined) return { value: formatHostPort(withPort) };
  const alone = parseHost(item);
  return alone === undefined
    ? problem(`${quote(item)} is not a member`, 'write each as 10.0.0.7, node-1, node-1:29983 or [fd00::7]:29983')
    : { value: alone };
});

export const addresses: Kind<readonly HostPort[]> = list('host:port,...', hostPort.parse, formatHostPort);

export const kubernetesNames: Kind<readonly string[]> = list('name,...', kubernetesName.parse, (name) => name);

export const registries: Kind<readonly MirroredRegistry[]> = list('name[=url],...', parseMirrored, ({ name }) => name);

/** What the runtime pulls: Kubernetes itself says what is wrong with a stranger one. */
export const imageName: Kind<string> = {
  placeholder: 'image',
  parse: (text) =>
    text.length <= IMAGE_LENGTH_MAX && /^[a-zA-Z0-9[][\w./:@+\]-]*$/.test(text)
      ? { value: text }
      : problem(`${quote(text)} is not an image`, 'write it as registry.example/miroir:0.1.0'),
};

/** Flags of another command of ours, which says itself what is wrong with them. */
export const flags: Kind<readonly string[]> = list('--flag=value,...', (item) =>
  /^--[a-z]+(?:-[a-z]+)*=\S+$/.test(item)
    ? { value: item }
    : problem(`${quote(item)} is not a flag with a value`, 'write each as --answer-tags=on'),
);

/** What a container asks for, and may use, as Kubernetes has it. */
export interface Resources {
  readonly requests: Readonly<Record<string, string>>;
  readonly limits: Readonly<Record<string, string>>;
}

/** https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/ */
const RESOURCE = /^(requests|limits)\.([a-z]+(?:[.-][a-z]+)*)=(\d+(?:\.\d+)?(?:m|k|Ki|[MGTPE]i?)?)$/;

export const resources: Kind<Resources> = {
  placeholder: 'requests.name=quantity,...',
  isList: true,
  parse: (text) => {
    const found: Record<'requests' | 'limits', Record<string, string>> = { requests: {}, limits: {} };
    const problems: Problem[] = [];
    for (const item of text.split(',').map((one) => one.trim())) {
      const [, kind, name, quantity] = RESOURCE.exec(item) ?? [];
      if (kind === undefined || name === undefined || quantity === undefined) {
        problems.push({
          wrong: `${quote(item)} is not a resource`,
          fix: 'write each as requests.cpu=5m or limits.memory=128Mi',
        });
      } else found[kind as 'requests' | 'limits'][name] = quantity;
    }
    return problems.length > 0 ? { problems } : { value: found };
  },
};

function parseMirrored(item: string): Parsed<MirroredRegistry> {
  const equals = item.indexOf('=');
  const nameText = equals < 0 ? item : item.slice(0, equals);
  const name = parseRegistry(nameText);
  if (name === undefined) {
    return nameText.includes('/')
      ? problem(
          `${quote(nameText)} has a path or a scheme`,
          'name the registry alone, as in docker.io or localhost:5000',
        )
      : problem(
          `${quote(nameText)} is not a registry`,
          'write it as image names do, as in docker.io or localhost:5000',
        );
  }
  if (equals < 0) return { value: { name } };
  const upstream = parseUpstream(name, item.slice(equals + 1));
  return 'problems' in upstream ? upstream : { value: { name, upstream: upstream.value } };
}

function parseUpstream(name: Registry, text: string): Parsed<string> {
  const wrong = (what: string) => problem(`the upstream of ${name} ${what}`, `write it as ${name}=https://host`);
  if (!URL.canParse(text) || /\s/.test(text)) return wrong('is not a URL');
  const url = new URL(text);
  if (url.protocol !== 'https:' && url.protocol !== 'http:') return wrong('is neither https nor http');
  if (url.username !== '' || url.password !== '') return wrong('holds a user name or a password');
  if (url.search !== '' || url.hash !== '') return wrong('has a query or a fragment');
  return { value: url.href.replace(/\/+$/, '') };
}

/** A list of one kind, split at commas; an item that stands there twice is a mistake when `identify` tells it. */
function list<T>(
  placeholder: string,
  parseItem: (item: string) => Parsed<T>,
  identify?: (value: T) => string,
): Kind<readonly T[]> {
  return {
    placeholder,
    isList: true,
    parse: (text) => {
      const items = text.split(',').map((item) => item.trim());
      if (items.length > LIST_ITEMS_MAX) {
        return problem(`it has ${items.length} items`, `use at most ${LIST_ITEMS_MAX}`);
      }
      const values: T[] = [];
      const problems: Problem[] = [];
      const seen = new Set<string>();
      for (const item of items) {
        const parsed =
          item === '' ? problem('it has an empty item', 'separate items by single commas') : parseItem(item);
        if ('problems' in parsed) {
          problems.push(...parsed.problems);
          continue;
        }
        const identity = identify?.(parsed.value);
        if (identity !== undefined && seen.has(identity)) {
          problems.push({ wrong: `${quote(identity)} is there twice`, fix: 'name it once' });
        }
        if (identity !== undefined) seen.add(identity);
        values.push(parsed.value);
      }
      return problems.length > 0 ? { problems } : { value: Object.freeze(values) };
    },
  };
}
