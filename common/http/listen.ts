import type { AddressInfo, ListenOptions, Server } from 'node:net';
import { MiroirError } from '../errors.ts';

/** Where a server listens: a literal IP address and a port. Port 0 takes a free one. */
export interface ListenAddress {
  readonly host: string;
  readonly port: number;
}

/** Throws ERR_LISTEN_FAILED, which names the address and what is wrong with it. */
export async function listen(server: Server, address: ListenAddress): Promise<void> {
  const options: ListenOptions = { host: address.host, port: address.port, exclusive: true };
  await new Promise<void>((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      const problem = error.code === 'EADDRINUSE' ? 'another program has this port' : error.message;
      reject(
        new MiroirError('ERR_LISTEN_FAILED', `cannot listen on ${formatAddress(address)}: ${problem}`, {
          cause: error,
        }),
      );
    };
    server.once('error', fail);
    server.listen(options, () => {
      server.off('error', fail);
      resolve();
    });
  });
}

/** Where a listening server really listens. */
export function boundAddress(server: Server): ListenAddress {
  const { address, port } = server.address() as AddressInfo;
  return { host: address, port };
}

export function formatAddress({ host, port }: ListenAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
