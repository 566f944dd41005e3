/** What the head of a peer's answer says, as far as this protocol has a use for it. */
export interface ResponseHead {
  readonly status: number;
  /** Always there: peers answer nothing of unknown length. */
  readonly contentLength: number;
  readonly contentRange?: string;
  readonly contentDigest?: string;
  readonly resolvedAgeMs?: string;
  readonly readers?: string;
  /** Whether the peer keeps the connection for another request. */
  readonly keepsAlive: boolean;
}

/** An honest head is a few hundred bytes. */
export const RESPONSE_HEAD_BYTES_MAX = 8 * 1024;

/** The answers of this protocol. Anything else, a redirect above all, is not one of our peers. */
const STATUSES: ReadonlySet<number> = new Set([200, 206, 400, 404, 416, 429, 503]);

const STATUS_LINE = /^HTTP\/1\.1 (\d{3})(?: [\t\x20-\x7e]*)?$/;
const FIELD = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+):[\t ]*([\t\x20-\x7e]*?)[\t ]*$/;

/**
 * Parses a response head without its final empty line. Undefined when it is not HTTP/1.1 as an honest peer speaks it:
 * strict, because two readers of a lax head may disagree where a body ends.
 */
export function parseResponseHead(text: string): ResponseHead | undefined {
  const [statusLine, ...lines] = text.split('\r\n');
  const status = Number(STATUS_LINE.exec(statusLine as string)?.[1]);
  if (!STATUSES.has(status)) return undefined;
  const fields = new Map<string, string>();
  for (const line of lines) {
    const match = FIELD.exec(line);
    if (match === null) return undefined;
    const name = (match[1] as string).toLowerCase();
    if (fields.has(name)) return undefined;
    fields.set(name, match[2] as string);
  }
  const length = fields.get('content-length') ?? '';
  if (!/^\d{1,15}$/.test(length) || fields.has('transfer-encoding') || fields.has('content-encoding')) return undefined;
  const contentRange = fields.get('content-range');
  const contentDigest = fields.get('docker-content-digest');
  const resolvedAgeMs = fields.get('miroir-resolved-age-ms');
  const readers = fields.get('miroir-readers');
  return {
    status,
    contentLength: Number(length),
    ...(contentRange !== undefined && { contentRange }),
    ...(contentDigest !== undefined && { contentDigest }),
    ...(resolvedAgeMs !== undefined && { resolvedAgeMs }),
    ...(readers !== undefined && { readers }),
    keepsAlive: fields.get('connection')?.toLowerCase() !== 'close',
  };
}
