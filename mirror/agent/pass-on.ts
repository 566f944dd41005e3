import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import type { AskedContent } from '../upstream/registry-client.ts';
import type { RegistryReader } from '../upstream/registry-reader.ts';
import type { MirrorClient, MirrorRequest } from './mirror-client.ts';

interface PassOnDeps {
  readonly mirror: Pick<MirrorClient, 'ask'>;
  readonly registry: RegistryReader;
  /** Told of each answer that went on after a break, and where. */
  readonly resumed: (from: 'mirror' | 'registry') => void;
}

export interface PassOnOptions {
  /** How long an answer that broke off is tried to be ended; 0 to leave that to the client. */
  readonly resumeMs?: number;
  /** Of that, how long the mirror is waited for before the registry is asked. */
  readonly mirrorMs?: number;
  /** An answer of which nothing comes for that long has broken off. */
  readonly stallMs?: number;
}

interface Range {
  readonly start: number;
  /** Exclusive. */
  readonly end: number;
}

/** Of a blob: the same bytes whenever and wherever they are asked for. */
interface Answered {
  readonly blob: AskedContent;
  readonly request: MirrorRequest;
  readonly body: IncomingMessage;
  readonly range: Range;
}

const RESUME_MS = 30_000;
/** A mirror that is replaced is back within some ten seconds, and spares the registry the rest. */
const MIRROR_MS = 10_000;
/** A mirror that follows a slow pull, and a registry too, sends something every second. */
const STALL_MS = 10_000;
const LOOK_MS = 250;
const ASK_REGISTRY_AGAIN_MS = 5_000;
/** Who breaks off more often is of no help. */
const RESUMES_MAX = 20;

/**
 * Sends the body to the client. Where the mirror breaks off or stands still, what is left of it is asked for again: of the mirror when it was
 * only replaced, else of the registry. Few programs go on by themselves in the middle of a layer. What nobody can end ends short, with a FIN
 * while bytes are owed.
 */
export async function passOn(
  deps: PassOnDeps,
  { resumeMs = RESUME_MS, mirrorMs = MIRROR_MS, stallMs = STALL_MS }: PassOnOptions,
  answered: Answered,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  let source: Source | undefined = { body: answered.body, skip: 0 };
  const { end } = answered.range;
  let { start } = answered.range;
  for (let resumes = 0; source !== undefined; resumes += 1) {
    const { sent, isStalled } = await copy(source, end - start, response, stallMs, signal);
    start += sent;
    if (signal.aborted) return;
    if (start === end) {
      response.end();
      return;
    }
    const patience = { resumeMs, mirrorMs: isStalled ? 0 : mirrorMs };
    const mayResume = resumeMs > 0 && resumes < RESUMES_MAX;
    source = mayResume ? await resume(deps, answered, { start, end }, patience, signal) : undefined;
  }
  response.socket?.end();
}

interface Source {
  readonly body: IncomingMessage;
  /** Bytes that the client has. */
  readonly skip: number;
}

/** Sends at most what is owed, and never throws: what is missing tells. */
async function copy(
  { body, skip }: Source,
  owed: number,
  response: ServerResponse,
  stallMs: number,
  signal: AbortSignal,
): Promise<{ readonly sent: number; readonly isStalled: boolean }> {
  let received = 0;
  let sent = 0;
  let isStalled = false;
  const stall = setTimeout(() => {
    if (response.writableNeedDrain) return void stall.refresh(); // It is the client that stands still.
    isStalled = true;
    body.destroy();
  }, stallMs);
  try {
    for await (const chunk of body as AsyncIterable<Buffer>) {
      stall.refresh();
      const from = Math.min(Math.max(skip - received, 0), chunk.length);
      received += chunk.length;
      const bytes = chunk.subarray(from, from + owed - sent);
      sent += bytes.length;
      if (bytes.length > 0 && !response.write(bytes)) await once(response, 'drain', { signal });
      stall.refresh();
      if (sent === owed && received > skip + owed) break; // More than was asked for.
    }
  } catch {
    // It broke off, or the client went.
  }
  clearTimeout(stall);
  return { sent, isStalled };
}

async function resume(
  { mirror, registry, resumed }: PassOnDeps,
  { blob, request }: Answered,
  { start, end }: Range,
  { resumeMs, mirrorMs }: { readonly resumeMs: number; readonly mirrorMs: number },
  signal: AbortSignal,
): Promise<Source | undefined> {
  const headers = { ...request.headers, range: `bytes=${start}-${end - 1}` };
  const authorization = request.headers['authorization']?.toString();
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(resumeMs)]);
  let askRegistryAt = performance.now() + mirrorMs;
  let wasGone = false;
  while (!deadline.aborted) {
    if (performance.now() >= askRegistryAt) {
      const rest = await registry.read(blob, { start, end }, authorization, signal);
      if (rest !== undefined) {
        resumed('registry');
        return rest;
      }
      askRegistryAt = performance.now() + ASK_REGISTRY_AGAIN_MS;
    }
    const body = await mirror.ask({ ...request, headers }, signal);
    if (body?.statusCode === 206 && rangeOf(body)?.start === start) {
      resumed('mirror');
      return { body, skip: 0 };
    }
    body?.destroy();
    if (body === undefined) wasGone = true;
    else if (!wasGone) {
      // It was there all the time, and has nothing more. One that has just started knows nothing yet.
      wasGone = true;
      askRegistryAt = 0;
      continue;
    }
    await delay(LOOK_MS, undefined, { signal: deadline }).catch(() => {}); // It ends by the loop's condition.
  }
  return undefined;
}

/** What an answer promises of a blob; undefined where it does not say. */
export function rangeOf({ statusCode, headers }: IncomingMessage): Range | undefined {
  const length = Number(headers['content-length']);
  if (!Number.isSafeInteger(length)) return undefined;
  if (statusCode === 200) return { start: 0, end: length };
  const [, first] = /^bytes (\d{1,15})-/.exec(headers['content-range'] ?? '') ?? [];
  return first === undefined ? undefined : { start: Number(first), end: Number(first) + length };
}
