import { MiroirError } from '../../common/errors.ts';

/** grpc-go's own limit on what a client receives is 4 MiB and containerd raises it to 16 MiB, so nothing larger comes. */
export const GRPC_MESSAGE_BYTES_MAX = 16 * 1024 * 1024;

/** A flag byte, then the message's length as a big-endian 32-bit number. */
const HEADER_BYTES = 5;

/** Wraps a message as gRPC sends it, uncompressed. */
export function encodeFrame(message: Uint8Array): Buffer {
  const frame = Buffer.allocUnsafe(HEADER_BYTES + message.length);
  frame.writeUInt8(0, 0);
  frame.writeUInt32BE(message.length, 1);
  frame.set(message, HEADER_BYTES);
  return frame;
}

/** Cuts the bytes of a gRPC stream into messages, wherever the chunks end. */
export class FrameReader {
  #pending: Buffer = Buffer.alloc(0);
  #chunks: Buffer[] = [];
  #length = 0;
  #wanted = HEADER_BYTES;

  /** Yields the messages that are whole now. Throws ERR_CONTAINERD_CALL_FAILED for what Miroir never asked for. */
  *push(chunk: Buffer): Generator<Buffer> {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (this.#length < this.#wanted) return;
    this.#pending = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks);
    while (this.#pending.length >= HEADER_BYTES) {
      const size = HEADER_BYTES + readLength(this.#pending);
      if (this.#pending.length < size) break;
      yield this.#pending.subarray(HEADER_BYTES, size);
      this.#pending = this.#pending.subarray(size);
    }
    this.#chunks = [this.#pending];
    this.#length = this.#pending.length;
    this.#wanted = this.#length < HEADER_BYTES ? HEADER_BYTES : HEADER_BYTES + readLength(this.#pending);
  }
}

function readLength(frame: Buffer): number {
  if (frame.readUInt8(0) !== 0) throw new MiroirError('ERR_CONTAINERD_CALL_FAILED', 'A compressed gRPC message came');
  const length = frame.readUInt32BE(1);
  if (length > GRPC_MESSAGE_BYTES_MAX) {
    throw new MiroirError('ERR_CONTAINERD_CALL_FAILED', `A gRPC message of ${length} bytes came`);
  }
  return length;
}
