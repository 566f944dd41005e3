/** One request that reached the upstream, as its proxy saw it. */
export interface UpstreamRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  readonly status: number;
  /** Bytes of the body that were handed to the client's connection. */
  readonly bytes: number;
  readonly range?: string;
  /** The address that asked: a node's own. */
  readonly client: string;
  readonly startedAtMs: number;
  readonly endedAtMs: number;
  readonly kind: 'manifest' | 'blob' | 'other';
  /** Of the path, or for a tag what the registry said it is. */
  readonly digest?: string;
}

export interface DigestStats {
  /** Answered with content (200 or 206). */
  readonly gets: number;
  readonly heads: number;
  /** Answered otherwise, whatever the method. */
  readonly refused: number;
  readonly bytes: number;
}

export interface UpstreamStats {
  /** All requests, the refused ones too: 0 means that nobody asked. */
  readonly requests: number;
  readonly bytes: number;
  readonly manifestGets: number;
  readonly manifestHeads: number;
  readonly blobGets: number;
  readonly blobHeads: number;
  readonly byDigest: Readonly<Record<string, DigestStats>>;
  /** Keys such as `GET /v2/app/manifests/v1`. */
  readonly byPath: Readonly<Record<string, number>>;
  /** The last ones, oldest first. */
  readonly log: readonly UpstreamRequest[];
}

/** Enough for any test; a lab that is left running must not grow for ever. */
const LOG_ENTRIES_MAX = 10_000;

const CONTENT_PATH = /^\/v2\/.+\/(manifests|blobs)\/([^/]+)$/;

export function classifyPath(path: string): Pick<UpstreamRequest, 'kind' | 'digest'> {
  const [, kind, reference] = CONTENT_PATH.exec(path) ?? [];
  if (kind === undefined || reference === undefined) return { kind: 'other' };
  return {
    kind: kind === 'blobs' ? 'blob' : 'manifest',
    ...(reference.startsWith('sha256:') && { digest: reference }),
  };
}

/** Counts by adding up the log's entries, so that every figure can be traced to its requests. */
export function summarize(log: readonly UpstreamRequest[]): UpstreamStats {
  const byDigest: Record<string, DigestStats> = {};
  const byPath: Record<string, number> = {};
  const count = (kind: UpstreamRequest['kind'], method: string) =>
    log.filter((entry) => entry.kind === kind && entry.method === method && isServed(entry)).length;
  for (const entry of log) {
    const key = `${entry.method} ${entry.path}`;
    byPath[key] = (byPath[key] ?? 0) + 1;
    if (entry.digest !== undefined) byDigest[entry.digest] = addEntry(byDigest[entry.digest], entry);
  }
  return {
    requests: log.length,
    bytes: log.reduce((sum, { bytes }) => sum + bytes, 0),
    manifestGets: count('manifest', 'GET'),
    manifestHeads: count('manifest', 'HEAD'),
    blobGets: count('blob', 'GET'),
    blobHeads: count('blob', 'HEAD'),
    byDigest,
    byPath,
    log,
  };
}

export interface Ledger {
  add(entry: UpstreamRequest): void;
  reset(): void;
  entries(): readonly UpstreamRequest[];
}

export function createLedger(): Ledger {
  let log: UpstreamRequest[] = [];
  return {
    add: (entry) => {
      log.push(entry);
      if (log.length > LOG_ENTRIES_MAX) log = log.slice(-LOG_ENTRIES_MAX / 2);
    },
    reset: () => {
      log = [];
    },
    entries: () => log,
  };
}

function isServed({ status }: UpstreamRequest): boolean {
  return status === 200 || status === 206;
}

function addEntry(
  stats: DigestStats = { gets: 0, heads: 0, refused: 0, bytes: 0 },
  entry: UpstreamRequest,
): DigestStats {
  const served = isServed(entry);
  return {
    gets: stats.gets + Number(served && entry.method === 'GET'),
    heads: stats.heads + Number(served && entry.method === 'HEAD'),
    refused: stats.refused + Number(!served),
    bytes: stats.bytes + entry.bytes,
  };
}
