import type { IncomingMessage } from 'node:http';
import { type OciRefusal, refusal } from './oci-error.ts';

/** Who may ask: undefined lets the request pass. */
export type Guard = (request: IncomingMessage) => Promise<OciRefusal | undefined>;

/** What any of the servers refuses before it looks at the path. Undefined lets the request pass. */
export function refuseRequest(request: IncomingMessage): OciRefusal | undefined {
  if (request.method !== 'GET' && request.method !== 'HEAD') {
    return refusal(405, 'UNSUPPORTED', 'this registry is read-only');
  }
  const { headers } = request;
  if (headers['transfer-encoding'] !== undefined || !/^0*$/.test(headers['content-length'] ?? '')) {
    return refusal(400, 'UNSUPPORTED', 'a pull has no body');
  }
  return undefined;
}

/**
 * Refuses what no container runtime sends: a browser's request, or one for another host name. A web page that a name made
 * to point at 127.0.0.1 is all that could be behind it, and images may be private.
 */
export function refuseForeign({ headers, socket }: IncomingMessage): OciRefusal | undefined {
  const isLoopback = isLoopbackHost(headers.host ?? '') && isLoopbackAddress(socket.remoteAddress ?? '');
  const isBrowser = headers.origin !== undefined || headers['sec-fetch-mode'] !== undefined;
  return isLoopback && !isBrowser ? undefined : refusal(403, 'DENIED', 'this registry is for this node alone');
}

/** Whether an address can only be reached from this machine. */
export function isLoopbackAddress(address: string): boolean {
  return /^(?:::ffff:)?127(?:\.\d{1,3}){3}$/.test(address) || address === '::1';
}

function isLoopbackHost(host: string): boolean {
  return /^(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])(?::\d{1,5})?$/i.test(host);
}
