import type { Repository } from '../../common/oci/reference.ts';
import type { Trust, UrlAsker } from './ask-url.ts';
import { isSafe } from './follow.ts';
import { cannotTell, outage } from './outage.ts';
import type { Challenge } from './parse-challenge.ts';

/** Longer than any token that a registry takes: its headers have a limit too. */
const TOKEN_LENGTH_MAX = 16 * 1024;

export interface TokenSale {
  readonly urls: Pick<UrlAsker, 'ask'>;
  readonly trust: Trust;
}

/** As the registry's "Token Authentication" has it. Undefined when none is sold for these credentials. */
export async function buyToken(
  { urls, trust }: TokenSale,
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
  const seller = realm.origin === target.origin ? trust : { ...trust, isVerified: true };
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
