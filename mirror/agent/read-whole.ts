import type { IncomingMessage } from 'node:http';
import { MANIFEST_BYTES_MAX } from '../../common/oci/media-types.ts';

const READ_MS = 10_000;

/** What is small is not begun before it is there. Undefined when it did not come whole, or not in time. */
export async function readWhole(body: IncomingMessage): Promise<Buffer | undefined> {
  const late = setTimeout(() => body.destroy(), READ_MS);
  const chunks: Buffer[] = [];
  let byteCount = 0;
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      byteCount += chunk.length;
      if (byteCount > MANIFEST_BYTES_MAX) return undefined;
      chunks.push(chunk);
    }
  } catch {
    return undefined; // It broke off, or nobody waits for it any longer.
  } finally {
    clearTimeout(late);
  }
  return body.complete ? Buffer.concat(chunks) : undefined;
}
