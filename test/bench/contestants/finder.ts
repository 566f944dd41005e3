/**
 * Runs in a node's network and asks the node's mirror, as containerd would, for content until it is there. Reads a line with
 * a JSON array of targets (`/v2/...`) and answers with a line: the time at which each was first found, in milliseconds of the
 * epoch. Ends with its standard input.
 */
import http from 'node:http';
import { createInterface } from 'node:readline';
import { setTimeout as delay } from 'node:timers/promises';

const REGISTRY = { host: '127.0.0.1', port: 29_981 };
/** Asking more often would slow down what is asked. */
const ASK_AGAIN_AFTER_MS = 2;
/** What is not found by then never will be. */
const FOUND_MS_MAX = 10_000;

const agent = new http.Agent({ keepAlive: true });

async function isThere(target: string): Promise<boolean> {
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  http
    .request({ ...REGISTRY, agent, method: 'HEAD', path: target }, resolve)
    .on('error', reject)
    .end();
  const response = await promise;
  response.resume();
  return response.statusCode === 200;
}

async function foundAtMs(target: string): Promise<number> {
  for (const giveUpAt = performance.now() + FOUND_MS_MAX; performance.now() < giveUpAt; ) {
    if (await isThere(target)) return performance.timeOrigin + performance.now();
    await delay(ASK_AGAIN_AFTER_MS);
  }
  throw new Error(`${target} is not found`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const targets = JSON.parse(line) as string[];
  process.stdout.write(`${JSON.stringify(await Promise.all(targets.map(foundAtMs)))}\n`);
}
