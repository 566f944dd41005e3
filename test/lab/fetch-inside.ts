import { spawn } from 'node:child_process';
import http from 'node:http';
import { duplexPair } from 'node:stream';
import { text } from 'node:stream/consumers';
import { enteringNetwork } from './namespace.ts';
import type { ProcessId } from './process-id.ts';

export interface InsideResponse {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

/**
 * Asks an HTTP server in the holder's network. A process cannot enter a network namespace for the length of a request,
 * so the connection is a netcat's, a few milliseconds each: good for questions, not for measuring.
 */
export async function fetchInside(
  holder: ProcessId,
  url: string,
  options: http.RequestOptions,
): Promise<InsideResponse> {
  const { hostname, port } = new URL(url);
  const [program, ...args] = enteringNetwork(holder, ['busybox', 'nc', hostname, port || '80']);
  const netcat = spawn(program as string, args, { stdio: ['pipe', 'pipe', 'ignore'] });
  try {
    const [connection, far] = duplexPair();
    netcat.stdin.on('error', () => {}); // Refused: the request fails when netcat's output ends.
    netcat.stdout.pipe(far).pipe(netcat.stdin);
    const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
    const agent = new http.Agent();
    agent.createConnection = () => connection; // As an option it is passed over when there is a new agent.
    http
      .request(url, { ...options, agent }, resolve)
      .on('error', reject)
      .end();
    const response = await promise;
    return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) };
  } finally {
    netcat.kill();
  }
}
