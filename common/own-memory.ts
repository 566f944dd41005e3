/**
 * The same bytes, as a buffer of their own: for what is kept. Small buffers of Node, and what sockets read, are parts of 64 KiB that
 * stay as long as any part does.
 */
export function inOwnMemory(bytes: Uint8Array): Uint8Array {
  return bytes.length === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
}
