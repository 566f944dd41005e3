import { hasCode } from '../../common/errors.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import type { Upstream } from '../../containerd/find-upstream.ts';
import type { UrlAnswer, UrlAsker } from './ask-url.ts';
import { buyToken } from './buy-token.ts';
import { follow, locate } from './follow.ts';
import { cannotTell, outage } from './outage.ts';
import { type Challenge, parseChallenges } from './parse-challenge.ts';

export interface RegistryClientDeps {
  readonly urls: Pick<UrlAsker, 'ask'>;
  readonly findUpstream: (registry: Registry) => Promise<Upstream | undefined>;
  readonly now: () => number;
}

export interface AskedContent {
  readonly kind: 'manifest' | 'blob';
  readonly registry: Registry;
  readonly repository: Repository;
  readonly digest: Digest;
}

/**
 * What a registry says of who may read something: everybody, whoever has these credentials, or neither; `absent`: that it has no such
 * thing, or does not tell whoever asks.
 */
export type Right = 'public' | 'allowed' | 'denied' | 'absent';

/** Asks registries who may read what, and never for what it is. */
export interface RegistryClient {
  /**
   * `authorization` is a Basic header's value, undefined for whether everybody may. It is sent to the registry, and to where the
   * registry sells tokens, when it is asked for there. Throws ERR_REGISTRY_UNAVAILABLE when the registry cannot tell now.
   */
  rightTo(content: AskedContent, authorization: string | undefined, signal: AbortSignal): Promise<Right>;
  /** Whether it answers at all. Unlike what it says of content, nobody who asks for content can make it fail. */
  isThere(registry: Registry, signal: AbortSignal): Promise<boolean>;
}

/** Credentials come right after the question that they answer: how the registry asks for them need not be asked twice. */
const CHALLENGE_MS = 60_000;
const CHALLENGES_MAX = 1024;

/** Of manifests and blobs. */
export const ACCEPT = [
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
  'application/vnd.docker.distribution.manifest.v2+json',
  '*/*',
].join(', ');

/** Follows distribution's specs: "Pulling manifests" of the API, and "Token Authentication" of the registry. */
export function createRegistryClient({ urls, findUpstream, now }: RegistryClientDeps): RegistryClient {
  /** By repository, the oldest first. */
  const asked = new Map<string, { readonly challenges: readonly Challenge[]; readonly atMs: number }>();
  const remember = (key: string, challenges: readonly Challenge[]) => {
    asked.delete(key);
    asked.set(key, { challenges, atMs: now() });
    const [oldest] = asked.keys();
    if (asked.size > CHALLENGES_MAX && oldest !== undefined) asked.delete(oldest);
  };

  const find = (registry: Registry) => locate(findUpstream, registry);
  return {
    isThere: async (registry, signal) => {
      try {
        const { url, ...trust } = await find(registry);
        const answer = await urls.ask(new URL(`${url}/`), { method: 'GET', headers: {}, ...trust }, signal);
        return !cannotTell(answer) && (answer.status !== 404 || isOfRegistry(answer));
      } catch (error) {
        if (hasCode(error, 'ERR_REGISTRY_UNAVAILABLE')) return false;
        throw error;
      }
    },
    rightTo: async (content, authorization, signal) => {
      const { url, ...trust } = await find(content.registry);
      const target = new URL(`${url}/${content.repository}/${content.kind}s/${content.digest}`);
      const question = { method: 'HEAD', headers: { accept: ACCEPT }, trust } as const;
      const head = (credentials?: string) =>
        follow((at, asking) => urls.ask(at, asking, signal), target, question, credentials);

      const key = `${content.registry}/${content.repository}`;
      const before = authorization === undefined ? undefined : asked.get(key);
      let challenges = before !== undefined && now() - before.atMs <= CHALLENGE_MS ? before.challenges : undefined;
      if (challenges === undefined) {
        const plain = await head();
        if (plain.status !== 401) return isContent(plain, content) ? 'public' : without(plain, target);
        challenges = parseChallenges(plain.headers['www-authenticate'] ?? '');
        remember(key, challenges);
      }
      const bearer = challenges.find(({ scheme }) => scheme === 'bearer');
      if (bearer !== undefined) {
        const token = await buyToken({ urls, trust }, target, bearer, content.repository, authorization, signal);
        if (token === undefined) return 'denied';
        const answer = await head(`Bearer ${token}`);
        if (!isContent(answer, content)) return without(answer, target);
        return authorization === undefined ? 'public' : 'allowed';
      }
      if (authorization === undefined || !challenges.some(({ scheme }) => scheme === 'basic')) return 'denied';
      const answer = await head(authorization);
      return isContent(answer, content) ? 'allowed' : without(answer, target);
    },
  };
}

/** A page that lets people log in is an answer too, of 200 and HTML: that is no content. */
function isContent({ status, headers }: UrlAnswer, { kind, digest }: AskedContent): boolean {
  if (status !== 200) return false;
  const told = headers['docker-content-digest'];
  if (told !== undefined) return told === digest;
  const type = headers['content-type'] ?? '';
  return kind === 'blob' ? !/^text\/html/i.test(type) : /^application\/(?:[\w.+-]*\+)?json/i.test(type);
}

function without(answer: UrlAnswer, url: URL): 'denied' | 'absent' {
  if (cannotTell(answer) || (answer.status === 404 && !isOfRegistry(answer))) return outage(url, answer);
  return answer.status === 404 ? 'absent' : 'denied';
}

/** What stands before a registry says 404 to everything while there is none behind it. */
function isOfRegistry({ headers }: UrlAnswer): boolean {
  const type = headers['content-type'] ?? '';
  return headers['docker-distribution-api-version'] !== undefined || /json/i.test(type);
}
