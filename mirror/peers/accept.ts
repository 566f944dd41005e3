import type { Socket } from 'node:net';
import { MiroirError } from '../../common/errors.ts';
import { createNonce, isProof, PROOF_LINE_BYTES_MAX, parseHello, prove } from './proof.ts';

/**
 * The server's side of the proof on a plain connection (see proof.ts). What the client sent behind it is put back, for
 * HTTP to read. Throws ERR_PEER_MISBEHAVED or ERR_PEER_UNAVAILABLE; nothing was answered to who did not name a key.
 */
export async function acceptProof(
  socket: Socket,
  keyOf: (identity: string) => Uint8Array | null,
  timeoutMs: number,
): Promise<void> {
  const deadline = AbortSignal.timeout(timeoutMs);
  const hello = parseHello(await readLine(socket, deadline));
  const key = hello === undefined ? null : keyOf(hello.identity);
  if (hello === undefined || key === null)
    throw new MiroirError('ERR_PEER_MISBEHAVED', 'the client named no key of ours');
  const nonces = { client: hello.nonce, server: createNonce() };
  socket.write(`${nonces.server} ${prove(key, 'server', nonces)}\n`);
  const proof = await readLine(socket, deadline);
  if (!isProof(proof, key, 'client', nonces)) {
    throw new MiroirError('ERR_PEER_MISBEHAVED', 'the client did not prove its key');
  }
}

/** Reads up to a newline, and no further: the rest is put back. */
async function readLine(socket: Socket, deadline: AbortSignal): Promise<string> {
  let text = '';
  return new Promise((resolve, reject) => {
    const lost = () => stop(new MiroirError('ERR_PEER_UNAVAILABLE', 'the client left, or took too long'));
    const stop = (outcome: string | Error) => {
      socket.off('readable', read).off('close', lost).off('end', lost).off('error', lost);
      deadline.removeEventListener('abort', lost);
      if (typeof outcome === 'string') resolve(outcome);
      else reject(outcome);
    };
    const read = () => {
      for (let chunk: Buffer | null = socket.read(); chunk !== null; chunk = socket.read()) {
        const newline = chunk.indexOf('\n');
        text += chunk.toString('latin1', 0, newline < 0 ? chunk.length : newline);
        if (text.length > PROOF_LINE_BYTES_MAX)
          return stop(new MiroirError('ERR_PEER_MISBEHAVED', 'the line is too long'));
        if (newline < 0) continue;
        if (newline + 1 < chunk.length) socket.unshift(chunk.subarray(newline + 1));
        return stop(text);
      }
    };
    socket.on('readable', read).once('close', lost).once('end', lost).once('error', lost);
    deadline.addEventListener('abort', lost, { once: true });
    read();
  });
}
