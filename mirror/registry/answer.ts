import type { IncomingMessage, ServerResponse } from 'node:http';
import { applyRange, type ByteRange, formatContentRange, type RangeRequest } from '../../common/http/range.ts';
import type { Digest } from '../../common/oci/digest.ts';
import { BLOB_MEDIA_TYPE } from '../../common/oci/media-types.ts';
import { type CountingSink, responseSink } from '../transfer/body-sink.ts';
import type { Manifest } from '../transfer/local-content.ts';
import { type OciRefusal, ociErrorBody, refusal } from './oci-error.ts';

/** Where content came from, `local` or `peer`: for people, containerd does not look. */
export const SOURCE_HEADER = 'Miroir-Source';
/** The address of the peer that a blob comes from, when that is where it comes from; another one may go on with it. */
const PEER_HEADER = 'Miroir-Peer';

/** A head's worth of fields, as Node takes them. */
type Fields = Record<string, string | number>;

/** Answers `GET /v2/` as a registry that needs no credentials. */
export function answerBase(request: IncomingMessage, response: ServerResponse): void {
  answerBytes(request, response, 200, { 'Content-Type': 'application/json' }, '{}');
}

/** containerd puts what it pulls into the store of this node; of others that pull from here nothing is known. */
export function isContainerd({ method, headers }: IncomingMessage): boolean {
  return method === 'GET' && headers['user-agent']?.startsWith('containerd/') === true;
}

/**
 * Says why there is no content. containerd does not read the body of a 404, and Go's client closes a connection whose body was
 * not read: without one, the next request of the pull comes on the same connection.
 */
export function answerRefusal(
  request: IncomingMessage,
  response: ServerResponse,
  refused: OciRefusal,
  extra: Fields = {},
): void {
  const isRead = refused.status !== 404 || !isContainerd(request);
  const type = isRead ? { 'Content-Type': 'application/json' } : {};
  answerBytes(request, response, refused.status, { ...type, ...extra }, isRead ? ociErrorBody(refused) : '');
}

/** Manifests are answered whole: they are small, and a part of one could not be verified. */
export function answerManifest(
  request: IncomingMessage,
  response: ServerResponse,
  manifest: Manifest,
  extra: Fields = {},
): void {
  const fields = { 'Content-Type': manifest.mediaType, 'Docker-Content-Digest': manifest.digest, ...extra };
  answerBytes(request, response, 200, fields, manifest.bytes);
}

/**
 * Writes the head of a blob's answer. Answers the sink for its body, and which bytes it wants; undefined when all is said:
 * a HEAD, or a range that does not exist.
 */
export function answerBlobHead(
  request: IncomingMessage,
  response: ServerResponse,
  blob: { readonly digest: Digest; readonly sizeBytes: number; readonly source?: string; readonly peer?: string },
  asked: RangeRequest | undefined,
): { readonly sink: CountingSink; readonly range: ByteRange } | undefined {
  const { digest, sizeBytes } = blob;
  const isHead = request.method === 'HEAD';
  const applied = isHead ? 'whole' : applyRange(asked, sizeBytes);
  if (applied === 'unsatisfiable') {
    const refused = refusal(416, 'SIZE_INVALID', 'the range starts behind the end');
    answerRefusal(request, response, refused, { 'Content-Range': formatContentRange(undefined, sizeBytes) });
    return undefined;
  }
  const range = applied === 'whole' ? { start: 0, end: sizeBytes } : applied;
  response.writeHead(applied === 'whole' ? 200 : 206, {
    'Content-Type': BLOB_MEDIA_TYPE,
    'Content-Length': range.end - range.start,
    'Docker-Content-Digest': digest,
    'Accept-Ranges': 'bytes',
    ...(blob.source !== undefined && { [SOURCE_HEADER]: blob.source }),
    ...(blob.peer !== undefined && { [PEER_HEADER]: blob.peer }),
    ...(applied !== 'whole' && { 'Content-Range': formatContentRange(range, sizeBytes) }),
  });
  if (!isHead) return { sink: responseSink(response), range };
  response.end();
  return undefined;
}

function answerBytes(
  request: IncomingMessage,
  response: ServerResponse,
  status: number,
  fields: Fields,
  body: string | Uint8Array,
): void {
  response.writeHead(status, { ...fields, 'Content-Length': Buffer.byteLength(body) });
  response.end(request.method === 'HEAD' ? undefined : body);
}
