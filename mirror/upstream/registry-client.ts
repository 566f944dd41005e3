import { hasCode, MiroirError } from '../../common/errors.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import type { Upstream } from '../../containerd/find-upstream.ts';
import type { UrlAnswer, UrlAsker } from './ask-url.ts';
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

/** From a name that stands for registries in many places to one of them, and from there to where its content is. */
const REDIRECTS_MAX = 4;

/** Credentials come right after the question that they answer: how the registry asks for them need not be asked twice. */
const CHALLENGE_MS = 60_000;
const CHALLENGES_MAX = 1024;

/** Longer than any token that a registry takes: its headers have a limit too. */
const TOKEN_LENGTH_MAX = 16 * 1024;

const ACCEPT = [
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

  const find = async (registry: Registry): Promise<Upstream> => {
    const upstream = await findUpstream(registry).catch((cause: unknown) => {
      throw unavailable(`where ${registry} is cannot be read`, cause);
    });
    if (upstream === undefined) throw unavailable(`where ${registry} is cannot be told`);
    return upstream;
  };
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
      const head = (credentials?: string) => followHead({ urls, trust }, target, credentials, signal);

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

interface Asking {
  readonly urls: Pick<UrlAsker, 'ask'>;
  readonly trust: Omit<Upstream, 'url'>;
}

/** Credentials go to the origin that asked for them, and to no other that it points to. */
async function followHead(
  { urls, trust }: Asking,
  target: URL,
  authorization: string | undefined,
  signal: AbortSignal,
): Promise<UrlAnswer> {
  let at = target;
  for (let redirects = 0; ; redirects += 1) {
    const isOwn = at.origin === target.origin;
    const headers = { accept: ACCEPT, ...(isOwn && authorization !== undefined && { authorization }) };
    const answer = await urls.ask(at, { method: 'HEAD', headers, ...(isOwn ? trust : VERIFIED) }, signal);
    if (![301, 302, 303, 307, 308].includes(answer.status)) return answer;
    const next = URL.parse(answer.headers.location ?? '', at);
    if (redirects === REDIRECTS_MAX || next === null || !isSafe(next, at)) return answer;
    at = next;
  }
}

const VERIFIED = { ca: [], isVerified: true };

/** What is encrypted stays encrypted. */
function isSafe(next: URL, from: URL): boolean {
  return next.protocol === 'https:' || (next.protocol === 'http:' && from.protocol === 'http:');
}

/** Undefined when none is sold for these credentials. */
async function buyToken(
  { urls, trust }: Asking,
  target: URL,
  { params }: Challenge,
  repository: Repository,
  authorization: string | undefined,
  signal: AbortSignal,
): Promise<string | undefined> {
  const realm = URL.parse(params['realm'] ?? '');
  if (realm === null || !isSafe(realm, target) || realm.username !== '' || realm.password !== '') return undefined;
  if (params['service'] !== undefined) realm.searchParams.set('service', params['service']);
  realm.searchParams.set('scope', params['scope'] ?? `repository:${repository}:pull`);
  const headers = { accept: 'application/json', ...(authorization !== undefined && { authorization }) };
  const seller = realm.origin === target.origin ? trust : { ca: trust.ca, isVerified: true };
  const answer = await urls.ask(realm, { method: 'GET', headers, ...seller }, signal);
  if (answer.status !== 200) return cannotTell(answer) ? outage(realm, answer) : undefined;
  return parseToken(answer.body);
}

function parseToken(body: string): string | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(body);
  } catch {
    return undefined;
  }
  const { token, access_token: other } = (parsed ?? {}) as Readonly<Record<string, unknown>>;
  const text = typeof token === 'string' && token !== '' ? token : other;
  return typeof text === 'string' && text.length <= TOKEN_LENGTH_MAX && /^[\x21-\x7e]+$/.test(text) ? text : undefined;
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

/** Too many questions, or its own fault: the registry says nothing of who may read. */
function cannotTell({ status }: UrlAnswer): boolean {
  return status === 429 || status >= 500;
}

function outage(url: URL, { status }: UrlAnswer): never {
  throw unavailable(`${url.host} answers ${status}`);
}

function unavailable(message: string, cause?: unknown): MiroirError {
  if (hasCode(cause, 'ERR_REGISTRY_UNAVAILABLE')) return cause;
  return new MiroirError('ERR_REGISTRY_UNAVAILABLE', message, cause === undefined ? {} : { cause });
}
