/** How a registry wants to know who asks (RFC 9110, 11.6.1): the scheme in lower case, the names of the parameters too. */
export interface Challenge {
  readonly scheme: string;
  readonly params: Readonly<Record<string, string>>;
}

/** A registry names one or two ways to get in; a longer header is somebody's attempt at something else. */
const HEADER_LENGTH_MAX = 4096;

const TOKEN = String.raw`[!#$%&'*+.^_\x60|~0-9A-Za-z-]+`;
const PARAM = new RegExp(String.raw`\s*,?\s*(${TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|(${TOKEN}))`, 'y');
const SCHEME = new RegExp(String.raw`[\s,]*(${TOKEN})(?=\s|,|$)(?!\s*=)`, 'y');

/** Parses `WWW-Authenticate`; what cannot be read ends the list. Several headers come joined by commas. */
export function parseChallenges(header: string): readonly Challenge[] {
  if (header.length > HEADER_LENGTH_MAX) return [];
  const challenges: Challenge[] = [];
  for (let at = 0; at < header.length; ) {
    const scheme = matchAt(SCHEME, header, at);
    if (scheme === null) break;
    at = SCHEME.lastIndex;
    const params: Record<string, string> = Object.create(null) as Record<string, string>;
    for (let param = matchAt(PARAM, header, at); param !== null; param = matchAt(PARAM, header, at)) {
      at = PARAM.lastIndex;
      const [, name = '', quoted, plain = ''] = param;
      params[name.toLowerCase()] ??= quoted?.replace(/\\(.)/g, '$1') ?? plain;
    }
    challenges.push({ scheme: (scheme[1] as string).toLowerCase(), params });
  }
  return challenges;
}

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}
