import type { ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';

/** Where a body goes: the connection of a client that was sent a head with a Content-Length. */
export interface BodySink {
  /** Queues bytes. `written` is called once they left, or once they never will: until then the memory is the sink's. */
  write(bytes: Uint8Array, written: () => void): void;
  /** All that the head promised was written. */
  finish(): void;
  /**
   * Stops short of what the head promised: what was queued is still sent, then a FIN. containerd then asks again from that
   * offset; a reset would make it fail the pull.
   */
  cut(): void;
  /**
   * Has `copy` send bytes by the descriptor of the client's socket, past this process, and answers what it did: how many it sent.
   * 0, and `copy` is not called, before anything was written, and while what was written is on its way. Not there where this process
   * encrypts what it sends.
   */
  direct?(copy: (socketFd: number) => number | undefined): number | undefined;
  /** Aborted when the client is gone. */
  readonly gone: AbortSignal;
}

/** A sink that tells how much of a body it took in. What was not sent before its client left is among it. */
export interface CountingSink extends BodySink {
  readonly takenBytes: number;
}

/** How long a client that was cut may keep its side open. containerd closes at once; nothing depends on it. */
const LINGER_MS = 10_000;

/** The sink that writes into a response whose head was written with `writeHead` and a Content-Length. */
export function responseSink(response: ServerResponse): CountingSink {
  const gone = new AbortController();
  // Writes to a client that has left fail; that it left is told by 'close'.
  response.on('error', () => {});
  /** Node forgets what was to be told of writes to a connection that is closing. */
  const pending = new Set<() => void>();
  response.once('close', () => {
    if (!response.writableFinished) gone.abort();
    for (const left of pending) left();
  });
  if (response.destroyed) gone.abort();
  let takenBytes = 0;
  let hasBegun = false;
  const direct: BodySink['direct'] = (copy) => {
    const fd = descriptorOf(response.socket);
    if (!hasBegun || fd === undefined || response.destroyed || response.writableLength > 0) return 0;
    const byteCount = copy(fd);
    takenBytes += byteCount ?? 0;
    return byteCount;
  };
  return {
    get takenBytes() {
      return takenBytes;
    },
    write: (bytes, written) => {
      takenBytes += bytes.length;
      const left = () => {
        hasBegun = true;
        if (pending.delete(left)) written();
      };
      pending.add(left);
      if (response.destroyed) left();
      else response.write(bytes, left);
    },
    finish: () => {
      response.end();
    },
    cut: () => cutConnection(response),
    gone: gone.signal,
    ...(descriptorOf(response.socket) !== undefined && { direct }),
  };
}

/** Node gives no name to the descriptor of a socket; this one is as old as its streams. */
function descriptorOf(socket: Socket | null): number | undefined {
  if (!(socket instanceof Socket) || socket instanceof TLSSocket) return undefined;
  const { _handle: handle } = socket as { readonly _handle?: { readonly fd?: number } | null };
  return handle?.fd !== undefined && handle.fd >= 0 ? handle.fd : undefined;
}

function cutConnection(response: ServerResponse): void {
  const { socket } = response;
  if (socket === null || socket.destroyed) return;
  // Node sends a head with the first bytes of the body, and there may have been none: without it, containerd would not come back.
  response.flushHeaders();
  // Not `destroy`: closing a socket with unread input makes the kernel send a reset, which overtakes the last bytes.
  socket.end();
  const timer = setTimeout(() => socket.destroy(), LINGER_MS).unref();
  socket.once('close', () => clearTimeout(timer));
}
