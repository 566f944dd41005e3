import { randomBytes } from 'node:crypto';
import type { TLSSocket } from 'node:tls';

/**
 * How two members agree on the keys of sealed connections. A TLS 1.3 connection with the swarm key as external PSK, of
 * this protocol by ALPN, proves the key both ways and makes a secret that is exported from it (RFC 8446, 7.5) and is gone
 * with the session, so that there is forward secrecy; over it the server names the session, and closes it.
 *
 * A sealed connection is TCP and begins with
 *
 *     client: `HELLO` | session id, 16 bytes | nonce, 16 bytes
 *     server: nonce, 16 bytes
 *
 * and both go on in records (sealing.ts), of HTTP/1.1. A server that does not know the session closes the connection.
 */
export const SESSION_PROTOCOL = 'miroir-session/1';

/** No TLS connection begins like this: its first byte is 22. */
export const HELLO = Buffer.from('MIROIR/1');
export const SESSION_ID_BYTES = 16;

const SECRET_BYTES = 32;
const EXPORTER_LABEL = 'EXPORTER-miroir-sealed-1';

/** Then both ends agree on another secret, which costs a millisecond. */
const SESSION_MS = 3600_000;

/** Two for each member of a large swarm; the oldest go first, and their owners begin another. */
const SESSIONS_MAX = 4096;

/** The secret that this TLS connection's two ends share. */
export function exportSecret(socket: TLSSocket): Buffer {
  return socket.exportKeyingMaterial(SECRET_BYTES, EXPORTER_LABEL, Buffer.alloc(0));
}

/** The sessions that a server has agreed on. */
export interface Sessions {
  /** Begins one on a connection whose client has asked for `SESSION_PROTOCOL`. */
  begin(socket: TLSSocket): void;
  secretOf(id: Uint8Array): Uint8Array | undefined;
}

export function createSessions(now: () => number): Sessions {
  const sessions = new Map<string, { readonly secret: Uint8Array; readonly endsAt: number }>();
  return {
    begin: (socket) => {
      socket.on('error', () => {}); // A client that left: it begins another.
      const id = randomBytes(SESSION_ID_BYTES);
      sessions.set(id.toString('hex'), { secret: exportSecret(socket), endsAt: now() + SESSION_MS });
      const [oldest] = sessions.keys();
      if (sessions.size > SESSIONS_MAX) sessions.delete(oldest as string);
      socket.end(id);
    },
    secretOf: (id) => {
      const key = Buffer.from(id).toString('hex');
      const session = sessions.get(key);
      if (session === undefined || now() < session.endsAt) return session?.secret;
      sessions.delete(key);
      return undefined;
    },
  };
}
