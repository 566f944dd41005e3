import type { IncomingHttpHeaders } from 'node:http';
import type { Registry } from '../../common/oci/reference.ts';
import type { Upstream } from '../../containerd/find-upstream.ts';
import type { Trust, UrlQuestion } from './ask-url.ts';
import { unavailable } from './outage.ts';

/** Throws ERR_REGISTRY_UNAVAILABLE where nobody can say. */
export async function locate(
  findUpstream: (registry: Registry) => Promise<Upstream | undefined>,
  registry: Registry,
): Promise<Upstream> {
  const upstream = await findUpstream(registry).catch((cause: unknown) => {
    throw unavailable(`where ${registry} is cannot be read`, cause);
  });
  if (upstream === undefined) throw unavailable(`where ${registry} is cannot be told`);
  return upstream;
}

/** From a name that stands for registries in many places to one of them, and from there to where its content is. */
const REDIRECTS_MAX = 4;
const VERIFIED = { ca: [], client: [], isVerified: true };

interface Followable {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
}

/**
 * The answer that is no redirect, or the last that can be followed; one that was followed is for `ask` to be done with. Credentials go to the
 * origin that asked for them, and to no other that it points to.
 */
export async function follow<Answer extends Followable>(
  ask: (url: URL, question: UrlQuestion) => Promise<Answer>,
  target: URL,
  { method, headers, trust }: Pick<UrlQuestion, 'method' | 'headers'> & { readonly trust: Trust },
  authorization: string | undefined,
): Promise<Answer> {
  let at = target;
  for (let redirects = 0; ; redirects += 1) {
    const isOwn = at.origin === target.origin;
    const own = { ...headers, ...(isOwn && authorization !== undefined && { authorization }) };
    const answer = await ask(at, { method, headers: own, ...(isOwn ? trust : VERIFIED) });
    if (!isRedirect(answer)) return answer;
    const next = URL.parse(answer.headers.location ?? '', at);
    if (redirects === REDIRECTS_MAX || next === null || !isSafe(next, at)) return answer;
    at = next;
  }
}

export function isRedirect({ status }: Pick<Followable, 'status'>): boolean {
  return [301, 302, 303, 307, 308].includes(status);
}

/** What is encrypted stays encrypted. */
export function isSafe(next: URL, from: URL): boolean {
  return next.protocol === 'https:' || (next.protocol === 'http:' && from.protocol === 'http:');
}
