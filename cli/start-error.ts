import type { ErrorCode, MiroirError } from '../common/errors.ts';
import { formatHostPort, type HostPort } from '../common/host-port.ts';

/** What to do, and which setting to look at: the messages themselves know nothing of the command line. */
const FIXES: Partial<Readonly<Record<ErrorCode, string>>> = {
  ERR_CONTAINERD_UNAVAILABLE: 'start containerd, or name its socket with --containerd-socket',
  ERR_CONTAINERD_CALL_FAILED: 'see whether --containerd-socket is the socket of a containerd, and what it logs',
  ERR_DEADLINE_EXCEEDED: 'see whether containerd hangs, or name its socket with --containerd-socket',
  ERR_SWARM_KEY_INVALID: 'or name another file with --swarm-key-file',
  ERR_HOSTS_FILE_INVALID: 'mend that file or move it away; nothing was changed',
};

/**
 * One line for a person about an error that a command cannot work past, with what to look at. `addresses` are the
 * command's listening addresses by flag, to name the one that is taken.
 */
export function explainError(error: MiroirError, addresses: Readonly<Record<string, HostPort>> = {}): string {
  const fix = error.code === 'ERR_LISTEN_FAILED' ? listenFix(error, addresses) : FIXES[error.code];
  return fix === undefined ? error.message : `${error.message}; ${fix}`;
}

function listenFix({ message }: MiroirError, addresses: Readonly<Record<string, HostPort>>): string {
  const words = message.split(/:?\s/); // Whole ones: 0.0.0.0:2998 is not 0.0.0.0:29983.
  const flags = Object.keys(addresses).filter((flag) => words.includes(formatHostPort(addresses[flag] as HostPort)));
  const named = flags.length > 0 ? ` with ${flags.join(' or ')}` : '';
  return `see what listens there with ss -ltnp, or choose another address${named}`;
}
