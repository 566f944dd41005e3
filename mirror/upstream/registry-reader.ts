import type { IncomingMessage } from 'node:http';
import { hasCode } from '../../common/errors.ts';
import type { Registry } from '../../common/oci/reference.ts';
import type { Upstream } from '../../containerd/find-upstream.ts';
import type { Trust, UrlAsker, UrlQuestion } from './ask-url.ts';
import { buyToken } from './buy-token.ts';
import { follow, isRedirect, locate } from './follow.ts';
import { parseChallenges } from './parse-challenge.ts';
import { ACCEPT, type AskedContent } from './registry-client.ts';

export interface RegistryReaderDeps {
  readonly urls: Pick<UrlAsker, 'ask' | 'open'>;
  readonly findUpstream: (registry: Registry) => Promise<Upstream | undefined>;
}

/** Of a blob, and undefined for all of it. */
export type Part = { readonly start: number /** Exclusive. */; readonly end: number } | undefined;

export interface RegistryBody {
  readonly body: IncomingMessage;
  /** How many bytes come before those that were asked for. */
  readonly skip: number;
}

/** Reads content at its registry, as no mirror does: for whoever cannot go there by itself. */
export interface RegistryReader {
  /**
   * `authorization` is shown to the registry, or to where it sells tokens, when it is asked for there. Undefined when the registry does not
   * give the content, or does not answer in time. What breaks the body off, or the signal, is its error.
   */
  read(
    content: AskedContent,
    part: Part,
    authorization: string | undefined,
    signal: AbortSignal,
  ): Promise<RegistryBody | undefined>;
}

/** A registry that fetches it from elsewhere first needs some seconds. */
const HEAD_TIMEOUT_MS = 15_000;

export function createRegistryReader({ urls, findUpstream }: RegistryReaderDeps): RegistryReader {
  return {
    read: async (content, part, authorization, signal) => {
      const late = new AbortController();
      const timer = setTimeout(() => late.abort(), HEAD_TIMEOUT_MS);
      try {
        const { url, ...trust } = await locate(findUpstream, content.registry);
        const target = new URL(`${url}/${content.repository}/${content.kind}s/${content.digest}`);
        const limit = AbortSignal.any([signal, late.signal]);
        return bodyOf(await open(urls, { target, trust, content, part }, authorization, limit), content, part);
      } catch (error) {
        if (hasCode(error, 'ERR_REGISTRY_UNAVAILABLE')) return undefined;
        throw error;
      } finally {
        clearTimeout(timer);
      }
    },
  };
}

interface Asked {
  readonly target: URL;
  readonly trust: Trust;
  readonly content: AskedContent;
  readonly part: Part;
}

async function open(
  urls: RegistryReaderDeps['urls'],
  { target, trust, content, part }: Asked,
  authorization: string | undefined,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const headers = {
    accept: ACCEPT,
    'accept-encoding': 'identity',
    ...(part && { range: `bytes=${part.start}-${part.end - 1}` }),
  };
  const get = async (credentials?: string) => {
    const ask = async (url: URL, question: UrlQuestion) => {
      const message = await urls.open(url, question, signal);
      const answer = { status: message.statusCode ?? 0, headers: message.headers, message };
      if (isRedirect(answer)) message.destroy();
      return answer;
    };
    return (await follow(ask, target, { method: 'GET', headers, trust }, credentials)).message;
  };
  const plain = await get();
  if (plain.statusCode !== 401) return plain;
  plain.destroy();
  const challenges = parseChallenges(plain.headers['www-authenticate'] ?? '');
  const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
  if (bearer === undefined) return authorization === undefined ? plain : get(authorization);
  const token = await buyToken({ urls, trust }, target, bearer, content.repository, authorization, signal);
  return token === undefined ? plain : get(`Bearer ${token}`);
}

/** A registry need not take ranges: then it sends the blob from its beginning. */
function bodyOf(body: IncomingMessage, { digest }: AskedContent, part: Part): RegistryBody | undefined {
  const { statusCode, headers } = body;
  const isSame = (headers['docker-content-digest'] ?? digest) === digest && headers['content-encoding'] === undefined;
  const [, first] = /^bytes (\d{1,15})-/.exec(headers['content-range'] ?? '') ?? [];
  if (isSame && statusCode === 206 && Number(first) === part?.start) return { body, skip: 0 };
  // A page that lets people log in is an answer too.
  const isPage = /^text\/html/i.test(headers['content-type'] ?? '');
  const isLongEnough = Number(headers['content-length'] ?? part?.end) >= (part?.end ?? 0);
  if (isSame && !isPage && isLongEnough && statusCode === 200) return { body, skip: part?.start ?? 0 };
  body.destroy();
  return undefined;
}
