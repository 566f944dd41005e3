import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { MirrorClient, MirrorRequest } from './mirror-client.ts';

interface PassOnDeps {
  readonly mirror: MirrorClient;
  /** Told of each answer that went on after a break. */
  readonly resumed: () => void;
}

export interface PassOnOptions {
  /** How long a mirror that broke off is waited for; 0 for content that is not asked for again. */
  readonly resumeMs?: number;
}

/** Of content that its digest names: the same bytes whenever they are asked for. */
interface Answered {
  readonly request: MirrorRequest;
  readonly body: IncomingMessage;
}

/** A mirror that is replaced is back within some ten seconds. */
const RESUME_MS = 30_000;
const LOOK_MS = 250;
/** A mirror that breaks off more often is of no help. */
const RESUMES_MAX = 20;

/**
 * Sends the body to the client. Where the mirror breaks off, what is left of it is asked for again until the mirror is back: few
 * programs go on at their registry in the middle of a layer. What nobody can end ends short, with a FIN while bytes are owed.
 */
export async function passOn(
  deps: PassOnDeps,
  { resumeMs = RESUME_MS }: PassOnOptions,
  answered: Answered,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  const range = answered.request.method === 'HEAD' ? undefined : rangeOf(answered.body);
  let body: IncomingMessage | undefined = answered.body;
  let sent = 0;
  for (let resumes = 0; body !== undefined; resumes += 1) {
    try {
      for await (const chunk of body as AsyncIterable<Buffer>) {
        sent += chunk.length;
        if (!response.write(chunk)) await once(response, 'drain', { signal });
      }
    } catch {
      // The mirror broke off, or the client went: what is missing tells.
    }
    if (signal.aborted) return;
    if (range === undefined || range.start + sent >= range.end) {
      response.end();
      return;
    }
    const rest = { start: range.start + sent, end: range.end };
    const mayResume = resumeMs > 0 && resumes < RESUMES_MAX;
    body = mayResume ? await resume(deps, answered.request, rest, resumeMs, signal) : undefined;
    if (body !== undefined) deps.resumed();
  }
  response.socket?.end();
}

interface Range {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

async function resume(
  { mirror }: PassOnDeps,
  request: MirrorRequest,
  { start, end }: Range,
  resumeMs: number,
  signal: AbortSignal,
): Promise<IncomingMessage | undefined> {
  const headers = { ...request.headers, range: `bytes=${start}-${end - 1}` };
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(resumeMs)]);
  while (!deadline.aborted) {
    const body = await mirror.ask({ ...request, headers }, signal);
    if (body?.statusCode === 206 && rangeOf(body)?.start === start) return body;
    body?.destroy();
    await delay(LOOK_MS, undefined, { signal: deadline }).catch(() => {}); // It ends by the loop's condition.
  }
  return undefined;
}

/** Undefined where the answer does not say what it promises. */
function rangeOf({ statusCode, headers }: IncomingMessage): Range | undefined {
  const length = Number(headers['content-length']);
  if (!Number.isSafeInteger(length)) return undefined;
  if (statusCode === 200) return { start: 0, end: length };
  const [, first] = /^bytes (\d{1,15})-/.exec(headers['content-range'] ?? '') ?? [];
  return first === undefined ? undefined : { start: Number(first), end: Number(first) + length };
}
