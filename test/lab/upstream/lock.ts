import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** How a registry asks who is there: `Basic` on every request, or `Bearer` with a token bought at /token with Basic. */
export interface Lock {
  readonly scheme: 'basic' | 'token';
  readonly credentials: Credentials;
}

export const TOKEN_PATH = '/token';

/** A client that loses its token buys another; a lab that is left running must not collect them. */
const TOKENS_MAX = 1000;

export type Verdict =
  | { readonly kind: 'open' }
  | {
      readonly kind: 'answer';
      readonly status: number;
      readonly headers: Record<string, string>;
      readonly body: string;
    };

export interface Doorman {
  setLock(lock: Lock | undefined): void;
  /** `host` is what the client calls this registry; the token server is told to it under the same name. */
  judge(request: { method: string; path: string; host: string; authorization: string | undefined }): Verdict;
}

export function createDoorman(): Doorman {
  let lock: Lock | undefined;
  const tokens = new Set<string>();

  const sellToken = (method: string, authorization: string | undefined): Verdict => {
    if (method !== 'GET') return refuse(405, { allow: 'GET' }); // Clients that try OAuth's POST first fall back to GET.
    if (!lock || !isBasic(authorization, lock.credentials)) return refuse(401, { 'www-authenticate': basicChallenge });
    const token = randomBytes(24).toString('base64url');
    if (tokens.size >= TOKENS_MAX) tokens.clear();
    tokens.add(token);
    return { kind: 'answer', status: 200, headers: {}, body: JSON.stringify({ token, expires_in: 300 }) };
  };

  return {
    setLock: (next) => {
      lock = next;
      tokens.clear();
    },
    judge: ({ method, path, host, authorization }) => {
      if (lock === undefined) return { kind: 'open' };
      if (lock.scheme === 'basic') {
        if (isBasic(authorization, lock.credentials)) return { kind: 'open' };
        return refuse(401, { 'www-authenticate': basicChallenge });
      }
      if (path === TOKEN_PATH) return sellToken(method, authorization);
      const [scheme, token] = (authorization ?? '').split(' ');
      if (scheme?.toLowerCase() === 'bearer' && token !== undefined && tokens.has(token)) return { kind: 'open' };
      const repository = /^\/v2\/(.+)\/(?:manifests|blobs|tags)\//.exec(path)?.[1];
      const scope = repository === undefined ? '' : `,scope="repository:${repository}:pull"`;
      const challenge = `Bearer realm="http://${host}${TOKEN_PATH}",service="lab"${scope}`;
      return refuse(401, { 'www-authenticate': challenge });
    },
  };
}

const basicChallenge = 'Basic realm="lab"';

function refuse(status: number, headers: Record<string, string>): Verdict {
  const body = JSON.stringify({ errors: [{ code: 'UNAUTHORIZED', message: 'the lab has locked this registry' }] });
  return { kind: 'answer', status, headers, body };
}

function isBasic(authorization: string | undefined, { username, password }: Credentials): boolean {
  const [scheme, encoded] = (authorization ?? '').split(' ');
  if (scheme?.toLowerCase() !== 'basic' || encoded === undefined) return false;
  const hash = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(hash(Buffer.from(encoded, 'base64').toString()), hash(`${username}:${password}`));
}
