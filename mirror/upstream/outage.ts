import { hasCode, MiroirError } from '../../common/errors.ts';

/** Too many questions, or its own fault: the registry says nothing of who may read. */
export function cannotTell({ status }: { readonly status: number }): boolean {
  return status === 429 || status >= 500;
}

export function outage(url: URL, { status }: { readonly status: number }): never {
  throw unavailable(`${url.host} answers ${status}`);
}

export function unavailable(message: string, cause?: unknown): MiroirError {
  if (hasCode(cause, 'ERR_REGISTRY_UNAVAILABLE')) return cause;
  return new MiroirError('ERR_REGISTRY_UNAVAILABLE', message, cause === undefined ? {} : { cause });
}
