import { callKeeper, type TlsFiles } from './control.ts';
import type { ImageSpec } from './image.ts';
import { createPusher, type PushedImage } from './push.ts';
import type { UpstreamStats } from './upstream/ledger.ts';
import type { Credentials } from './upstream/lock.ts';
import type { Behaviour, Fault } from './upstream/proxy.ts';

/** A registry's host name, port included, as references to its images begin: the same in every lab. */
export const UPSTREAM_NAME = 'upstream.lab';
export const UPSTREAM_PORT = 5000;
export const UPSTREAM_HOST = `${UPSTREAM_NAME}:${UPSTREAM_PORT}`;
/** Behind the proxy: pushes go here, uncounted and never slowed. */
export const REGISTRY_PORT = 5001;
export const REGISTRY_HOST = `${UPSTREAM_NAME}:${REGISTRY_PORT}`;
const TLS_PORT = 5002;
/** The same images, once `serveTls` was called. */
export const TLS_REGISTRY_HOST = `${UPSTREAM_NAME}:${TLS_PORT}`;

/** A real registry behind a proxy that counts, and that misbehaves when told. */
export interface Upstream {
  /** `upstream.lab:5000`. */
  readonly host: string;
  readonly address: string;
  /** The proxy's URL for this process; nodes use `host`. */
  readonly url: string;
  /** The registry itself: pushes go here, uncounted and never slowed. */
  readonly pushUrl: string;
  /** Makes an image and pushes it past the proxy; `name` is `repository:tag`. */
  push(name: string, spec: ImageSpec, signal?: AbortSignal): Promise<PushedImage>;
  /** Moves a tag to a digest of the same repository. */
  tag(name: string, digest: string, signal?: AbortSignal): Promise<void>;
  stats(): Promise<UpstreamStats>;
  resetStats(): Promise<void>;
  /** Connections are refused, and dropped where there are any, until `start`. */
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Answers with the status, or misbehaves as told, until called with undefined. */
  break(fault: number | Fault | undefined): Promise<void>;
  /** Holds every request back, 0 to end it. */
  delay(ms: number): Promise<void>;
  /** Bytes per second of each connection and of all together, for requests from now on; undefined ends it. */
  throttle(rates: Behaviour['throttle'] | undefined): Promise<void>;
  /** Asks for credentials: Basic, or a token that /token sells for them. Undefined opens it again. */
  lock(scheme: 'basic' | 'token' | undefined, credentials?: Credentials): Promise<void>;
  /** Starts another registry of the same images, with TLS: `TLS_REGISTRY_HOST`. Nodes are to be told by their `hosts.toml` to trust it. */
  serveTls(tls: TlsFiles): Promise<void>;
}

const LOCK_CREDENTIALS: Credentials = { username: 'lab', password: 'secret' };

export async function createUpstream(address: string, controlSocket: string, initial: Behaviour): Promise<Upstream> {
  const pusher = createPusher(`http://${address}:${REGISTRY_PORT}`);
  const never = new AbortController().signal;
  let behaviour = initial;
  const behave = async (change: { [K in keyof Behaviour]: Behaviour[K] | undefined }) => {
    const merged = Object.entries({ ...behaviour, ...change }).filter(([, value]) => value !== undefined);
    behaviour = Object.fromEntries(merged);
    await callKeeper(controlSocket, { do: 'behave', behaviour });
  };
  const tell = async (what: 'reset-stats' | 'start' | 'stop') => {
    await callKeeper(controlSocket, { do: what });
  };
  await behave({});
  return {
    host: UPSTREAM_HOST,
    address,
    url: `http://${address}:${UPSTREAM_PORT}`,
    pushUrl: `http://${address}:${REGISTRY_PORT}`,
    push: async (name, spec, signal = never) => {
      const pushed = await pusher.push(name, spec, signal);
      return { ...pushed, reference: `${UPSTREAM_HOST}/${name}`, directReference: `${REGISTRY_HOST}/${name}` };
    },
    tag: (name, digest, signal = never) => pusher.tag(name, digest, signal),
    stats: async () => (await callKeeper(controlSocket, { do: 'stats' })) as UpstreamStats,
    resetStats: () => tell('reset-stats'),
    stop: () => tell('stop'),
    start: () => tell('start'),
    break: (fault) => behave({ fault: typeof fault === 'number' ? { kind: 'status', status: fault } : fault }),
    delay: (ms) => behave({ delayMs: ms > 0 ? ms : undefined }),
    throttle: (rates) => behave({ throttle: rates }),
    lock: async (scheme, credentials = LOCK_CREDENTIALS) => {
      await callKeeper(controlSocket, { do: 'lock', ...(scheme && { lock: { scheme, credentials } }) });
    },
    serveTls: async (tls) => {
      await callKeeper(controlSocket, { do: 'serve-tls', port: TLS_PORT, tls });
    },
  };
}
