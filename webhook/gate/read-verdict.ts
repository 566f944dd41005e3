import http from 'node:http';
import type { VerdictResult } from '../../containerd/verdict/verdict.ts';
import type { SeenVerdict } from './decide-node.ts';

/** An honest one is of some KB: a reason for each thing that can be wrong. */
const BODY_BYTES_MAX = 256 * 1024;
/** From the first byte to the last: a mirror on a busy node answers in milliseconds. */
const DEADLINE_MS = 2_000;
/** What a person reads in a condition; the whole verdict is at the mirror. */
const MESSAGE_CHARS_MAX = 900;

/**
 * The verdict of a node's mirror; undefined when nobody answers in time, or with what is no verdict. Throws nothing: whoever
 * listens at that address may say anything.
 */
export async function readVerdict(host: string, port: number, signal: AbortSignal): Promise<SeenVerdict | undefined> {
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]);
  try {
    return parseVerdict(await getText(host, port, deadline));
  } catch {
    return undefined;
  }
}

async function getText(host: string, port: number, signal: AbortSignal): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<http.IncomingMessage>();
  // Thousands of connections are not kept open for one question now and then.
  const request = http.get({ host, port, path: '/verdict', agent: false, headers: { 'user-agent': 'miroir' }, signal });
  request.on('response', resolve).on('error', reject);
  try {
    const response = await promise;
    if (response.statusCode !== 200) throw new Error(`the answer is ${response.statusCode}`);
    const chunks: Buffer[] = [];
    let bytes = 0;
    for await (const chunk of response as AsyncIterable<Buffer>) {
      bytes += chunk.length;
      if (bytes > BODY_BYTES_MAX) throw new Error('the answer is too long');
      chunks.push(chunk);
    }
    return Buffer.concat(chunks).toString();
  } finally {
    request.destroy();
  }
}

/** Undefined when it is none. Throws a SyntaxError when it is no JSON. */
export function parseVerdict(text: string): SeenVerdict | undefined {
  const { result, reasons } = record(JSON.parse(text));
  if (!isResult(result) || !Array.isArray(reasons)) return undefined;
  if (result === 'compatible') return { result, code: undefined, message: "the node's containerd asks its mirror" };
  const reason = reasons.map(record).find(({ weighs }) => weighs === result);
  const { code, sentence, fix } = reason ?? {};
  // It stands in labels, metrics and events: only what looks like one of our codes does.
  if (typeof code !== 'string' || !/^[a-z][a-z-]{0,62}$/.test(code)) return undefined;
  const words = [sentence, typeof fix === 'string' ? `Fix: ${fix}` : undefined].filter(
    (part) => typeof part === 'string',
  );
  return { result, code, message: printable(words.join('. ')) };
}

function isResult(value: unknown): value is VerdictResult {
  return value === 'compatible' || value === 'incompatible' || value === 'unknown';
}

function printable(text: string): string {
  return text.slice(0, MESSAGE_CHARS_MAX).replace(/\p{C}+/gu, ' ');
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}
