/**
 * The same bytes, as a buffer of their own: for what is kept. Small buffers of Node, and what sockets read, are cut from 64 KiB, and
 * one that is kept keeps all of that alive.
 */
export function inOwnMemory(bytes: Uint8Array): Uint8Array {
  return bytes.length === bytes.buffer.byteLength ? bytes : new Uint8Array(bytes);
}

/** Gives memory that nothing else is in back at once: waiting for the collector, a busy mirror would hold a hundred MB. */
export function free(bytes: Uint8Array): void {
  if (bytes.buffer instanceof ArrayBuffer) bytes.buffer.transfer(0);
}
