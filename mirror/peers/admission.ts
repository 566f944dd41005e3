import type { Socket } from 'node:net';

/** One peer keeps at most 16 connections; twice that, as a restarted one's old connections linger. */
const CONNECTIONS_PER_HOST_MAX = 32;

/** Who is connected: so many from one host, and all of them until the end. */
export function createAdmission(): { admit(socket: Socket): boolean; destroyAll(): void } {
  const byHost = new Map<string, Set<Socket>>();
  return {
    admit: (socket) => {
      const host = socket.remoteAddress ?? '';
      const mine = byHost.get(host) ?? new Set();
      if (mine.size >= CONNECTIONS_PER_HOST_MAX) {
        socket.destroy();
        return false;
      }
      byHost.set(host, mine.add(socket));
      socket.once('close', () => {
        mine.delete(socket);
        if (mine.size === 0) byHost.delete(host);
      });
      return true;
    },
    destroyAll: () => {
      for (const sockets of byHost.values()) for (const socket of sockets) socket.destroy();
    },
  };
}
