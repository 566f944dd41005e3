import type { ErrorCode, MiroirError } from '../common/errors.ts';
import { formatHostPort, type HostPort } from '../common/host-port.ts';

/** What to do about errors whose messages only say what is wrong. */
const FIXES: Partial<Readonly<Record<ErrorCode, string>>> = {
  ERR_CONTAINERD_UNAVAILABLE: 'start containerd, or name its socket with --containerd-socket',
  ERR_CONTENT_ROOT_UNREADABLE: "run as root, with containerd's root folder at the path it has on the node",
  ERR_SWARM_KEY_INVALID: 'name a file with a good key with --swarm-key-file',
  ERR_HOSTS_FILE_INVALID: 'mend that file or move it away; nothing was changed',
};

/**
 * One line for a person about an error that a command cannot work past, with what to look at. `addresses` are the
 * command's listening addresses by flag, to name the one that is taken.
 */
export function explainError(error: MiroirError, addresses: ReadonlyMap<string, HostPort> = new Map()): string {
  const fix = error.code === 'ERR_LISTEN_FAILED' ? listenFix(error, addresses) : FIXES[error.code];
  return fix === undefined ? error.message : `${error.message}; ${fix}`;
}

function listenFix({ message }: MiroirError, addresses: ReadonlyMap<string, HostPort>): string {
  const flags = [...addresses].filter(([, address]) => message.includes(formatHostPort(address))).map(([flag]) => flag);
  const named = flags.length > 0 ? ` with ${flags.join(' or ')}` : '';
  return `see what listens there with ss -ltnp, or choose another address${named}`;
}
