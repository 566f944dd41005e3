/** Bytes of a whole whose size is known. `start` is inclusive, `end` is not; both lie within the whole and are not equal. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

/** What a client asked for, before the size is known: from `start` to `end` (not inclusive) or to the end, or the last bytes. */
export type RangeRequest =
  | { readonly start: number; readonly end?: number }
  /** The last so many bytes. */
  | { readonly last: number };

/** Offsets over 15 digits are not exact in a double, and no blob is a petabyte. */
const SINGLE_RANGE = /^bytes=[ \t]*(\d{0,15})-(\d{0,15})[ \t]*$/i;

/**
 * Parses a Range header (RFC 9110, 14.2). Undefined means: answer with the whole. That is what the RFC asks for a header
 * that is malformed or in another unit, and allows for several ranges, which no registry client sends.
 */
export function parseRange(header: string | undefined): RangeRequest | undefined {
  const match = header === undefined ? null : SINGLE_RANGE.exec(header);
  if (match === null) return undefined;
  const [, first, last] = match as unknown as [string, string, string];
  if (first === '') return last === '' ? undefined : { last: Number(last) };
  const start = Number(first);
  if (last === '') return { start };
  return Number(last) >= start ? { start, end: Number(last) + 1 } : undefined;
}

/**
 * The bytes of a whole of `sizeBytes` that a request means, or 'whole' for a plain 200, or 'unsatisfiable' for a 416.
 *
 * `bytes=0-` is the whole: containerd takes a 200 as "no ranges here" and then reads one stream, where a 206 would make it
 * open many, any of which may fail the pull.
 */
export function applyRange(
  request: RangeRequest | undefined,
  sizeBytes: number,
): ByteRange | 'whole' | 'unsatisfiable' {
  if (request === undefined) return 'whole';
  if ('last' in request) {
    if (request.last === 0 || sizeBytes === 0) return 'unsatisfiable';
    return { start: Math.max(0, sizeBytes - request.last), end: sizeBytes };
  }
  if (request.start === 0 && request.end === undefined) return 'whole';
  if (request.start >= sizeBytes) return 'unsatisfiable';
  return { start: request.start, end: Math.min(request.end ?? sizeBytes, sizeBytes) };
}

/** A Range header's value for one range. */
export function formatRange(start: number, end: number | undefined): string {
  return `bytes=${start}-${end === undefined ? '' : end - 1}`;
}

/** A Content-Range header's value (RFC 9110, 14.4); without a range, as a 416 has it. */
export function formatContentRange(range: ByteRange | undefined, sizeBytes: number): string {
  return range === undefined ? `bytes */${sizeBytes}` : `bytes ${range.start}-${range.end - 1}/${sizeBytes}`;
}

const CONTENT_RANGE = /^bytes (?:(\d{1,15})-(\d{1,15})|\*)\/(\d{1,15})$/;

/** Parses what a server answers. Undefined when it is malformed, contradicts itself, or keeps the size to itself. */
export function parseContentRange(header: string): { range?: ByteRange; sizeBytes: number } | undefined {
  const match = CONTENT_RANGE.exec(header);
  if (match === null) return undefined;
  const sizeBytes = Number(match[3]);
  if (match[1] === undefined) return { sizeBytes };
  const range = { start: Number(match[1]), end: Number(match[2]) + 1 };
  return range.start < range.end && range.end <= sizeBytes ? { range, sizeBytes } : undefined;
}
