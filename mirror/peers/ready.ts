import type net from 'node:net';
import { MiroirError } from '../../common/errors.ts';

/** Resolves at the event; destroys the socket and throws when it breaks, when time is up or when the signal aborts. */
export function ready<S extends net.Socket>(
  socket: S,
  event: string,
  timeoutMs: number,
  signal: AbortSignal,
): Promise<S> {
  const happened = new Promise<S>((resolve) => {
    socket.once(event, () => resolve(socket));
  });
  return firstOf(socket, happened, AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]));
}

/** Resolves with what the promise does, unless the socket breaks or the signal aborts before. Destroys the socket then. */
export async function firstOf<T>(socket: net.Socket, promise: Promise<T>, signal: AbortSignal): Promise<T> {
  const cleanUp: Array<() => void> = [];
  const broken = new Promise<never>((_, reject) => {
    const lost = (cause?: unknown) =>
      reject(new MiroirError('ERR_PEER_UNAVAILABLE', 'the peer cannot be reached', { cause }));
    const closed = () => lost();
    const aborted = () => lost(signal.reason);
    socket.once('error', lost).once('close', closed);
    if (signal.aborted) aborted();
    signal.addEventListener('abort', aborted, { once: true });
    cleanUp.push(() => {
      socket.off('error', lost).off('close', closed);
      signal.removeEventListener('abort', aborted);
    });
  });
  try {
    return await Promise.race([promise, broken]);
  } catch (error) {
    socket.on('error', () => {}); // What comes after is of no interest: the socket is dropped.
    socket.destroy();
    throw error;
  } finally {
    for (const clean of cleanUp) clean();
  }
}
