import net from 'node:net';

/** What a client that only reads takes in at a time: so much that the client is not what is measured. */
const BUFFER_BYTES = 1024 * 1024;

/** Gets a target and drops what comes. Resolves with the seconds it took; throws unless it came whole. */
export function download(address: string, target: string): Promise<number> {
  const [host = '', port] = address.split(':');
  const startedAt = performance.now();
  let received = 0;
  let total: number | undefined;
  return new Promise((resolve, reject) => {
    const socket = net.connect({
      host,
      port: Number(port),
      onread: {
        buffer: new Uint8Array(BUFFER_BYTES),
        callback: (byteCount, buffer) => {
          received += byteCount;
          total ??= expectedBytes(Buffer.from(buffer.buffer, 0, byteCount));
          if (received !== total) return true;
          socket.destroy();
          resolve((performance.now() - startedAt) / 1000);
          return true;
        },
      },
    });
    socket.once('error', reject);
    socket.once('close', () => reject(new Error(`${target} came short: ${received} of ${total} bytes`)));
    socket.write(`GET ${target} HTTP/1.1\r\nHost: ${address}\r\nUser-Agent: containerd/2.4.2\r\n\r\n`);
  });
}

/** The length of head and body together, from the packet that the head is in. */
function expectedBytes(packet: Buffer): number {
  const end = packet.indexOf('\r\n\r\n');
  const head = packet.toString('latin1', 0, end);
  const length = /^content-length: (\d+)$/im.exec(head)?.[1];
  if (!head.startsWith('HTTP/1.1 200 ') || length === undefined) throw new Error(`not the answer: ${head}`);
  return end + 4 + Number(length);
}
