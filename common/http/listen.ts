import type { AddressInfo, ListenOptions, Server } from 'node:net';
import { MiroirError } from '../errors.ts';
import { formatHostPort, type HostPort } from '../host-port.ts';

/** Throws ERR_LISTEN_FAILED, which names the address and what is wrong with it. */
export async function listen(server: Server, address: HostPort): Promise<void> {
  const options: ListenOptions = { host: address.host, port: address.port, exclusive: true };
  await new Promise<void>((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      const problem = error.code === 'EADDRINUSE' ? 'another program has this port' : error.message;
      reject(
        new MiroirError('ERR_LISTEN_FAILED', `cannot listen on ${formatHostPort(address)}: ${problem}`, {
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
export function boundAddress(server: Server): HostPort {
  const { address, port } = server.address() as AddressInfo;
  return { host: address, port };
}
