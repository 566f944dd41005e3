/** The codes of the distribution spec ("Error Codes") that a read-only registry has a use for. */
export type OciErrorCode =
  | 'BLOB_UNKNOWN'
  | 'DENIED'
  | 'DIGEST_INVALID'
  | 'MANIFEST_UNKNOWN'
  | 'NAME_INVALID'
  | 'NAME_UNKNOWN'
  | 'SIZE_INVALID'
  | 'TOOMANYREQUESTS'
  | 'UNAUTHORIZED'
  | 'UNAVAILABLE'
  | 'UNSUPPORTED';

/** A request that is answered with a 4xx or 5xx. */
export interface OciRefusal {
  readonly status: 400 | 401 | 403 | 404 | 405 | 414 | 416 | 429 | 503;
  readonly code: OciErrorCode;
  /** For the person who reads the client's log; it repeats nothing that the client sent. */
  readonly message: string;
}

export function refusal(status: OciRefusal['status'], code: OciErrorCode, message: string): OciRefusal {
  return { status, code, message };
}

export function ociErrorBody({ code, message }: OciRefusal): string {
  return JSON.stringify({ errors: [{ code, message }] });
}
