/** Every way in which Miroir says no. Callers test the code, never the message. */
export type ErrorCode =
  | 'ERR_ABORTED'
  | 'ERR_CERTS_DIR_INACCESSIBLE'
  | 'ERR_CONFIG_INVALID'
  | 'ERR_CONTAINERD_CALL_FAILED'
  | 'ERR_CONTAINERD_UNAVAILABLE'
  | 'ERR_CONTENT_CORRUPT'
  | 'ERR_CONTENT_NOT_FOUND'
  | 'ERR_CONTENT_ROOT_UNREADABLE'
  | 'ERR_DEADLINE_EXCEEDED'
  | 'ERR_HOSTS_FILE_INVALID'
  | 'ERR_KUBE_CONFIG_INVALID'
  | 'ERR_KUBE_CONFLICT'
  | 'ERR_KUBE_GONE'
  | 'ERR_KUBE_NOT_FOUND'
  | 'ERR_KUBE_REFUSED'
  | 'ERR_KUBE_UNAVAILABLE'
  | 'ERR_LISTEN_FAILED'
  | 'ERR_PEER_BUSY'
  | 'ERR_PEER_MISBEHAVED'
  | 'ERR_PEER_UNAVAILABLE'
  | 'ERR_REGISTRY_UNAVAILABLE'
  | 'ERR_SWARM_FRAME_INVALID'
  | 'ERR_SWARM_KEY_INVALID'
  | 'ERR_TLS_FILES_INVALID';

/** An error with a code of ours. An error without one is a fault: it rises to the boundary, which logs it once. */
export class MiroirError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'MiroirError';
    this.code = code;
  }
}

export function hasCode(error: unknown, code: ErrorCode): error is MiroirError {
  return error instanceof MiroirError && error.code === code;
}
