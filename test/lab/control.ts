import http from 'node:http';
import { text } from 'node:stream/consumers';
import { LabError } from './lab-error.ts';
import type { Lock } from './upstream/lock.ts';
import type { Behaviour } from './upstream/proxy.ts';

/** What the keeper is told on its standard input, as one line of JSON. */
export interface KeeperConfig {
  /** The lab ends with the process that made it. */
  readonly attached: boolean;
  /** The bridge's own, and the upstream's. */
  readonly address: string;
  readonly upstreamPort: number;
  readonly registryPort: number;
  readonly controlSocket: string;
  readonly runFolder: string;
  readonly dataFolder: string;
}

/** What the keeper can be asked for on its control socket. */
export type ControlCall =
  | { readonly do: 'stats' | 'reset-stats' | 'start' | 'stop' | 'down' }
  | { readonly do: 'behave'; readonly behaviour: Behaviour }
  | { readonly do: 'lock'; readonly lock?: Lock }
  | { readonly do: 'serve-tls'; readonly port: number; readonly tls: TlsFiles };

/** The PEM files that docker-registry serves with. */
export interface TlsFiles {
  readonly certificate: string;
  readonly key: string;
}

/** Asks a lab's keeper for one thing. Throws ERR_LAB_COMMAND_FAILED with its reason when it could not do it. */
export async function callKeeper(socketPath: string, call: ControlCall): Promise<unknown> {
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  http.request({ socketPath, method: 'POST', agent: false }, resolve).on('error', reject).end(JSON.stringify(call));
  const response = await promise;
  const body = await text(response);
  if (response.statusCode !== 200)
    throw new LabError('ERR_LAB_COMMAND_FAILED', `the lab could not ${call.do}: ${body}`);
  return JSON.parse(body);
}
