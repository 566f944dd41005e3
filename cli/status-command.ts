import type { ConfigOf } from '../common/config/settings.ts';
import { createKubeClient } from '../webhook/kube/client.ts';
import { formatStatus } from './format-status.ts';
import { EXIT_OK, type ProgramDeps } from './program.ts';
import { askMirrors, listMirrors, type MirrorReport } from './read-status.ts';

/** Something is wrong that the person who asks should look at. */
const EXIT_TROUBLE = 1;

/** Asks mirrors how they are, and prints it. Resolves to 1 when one of them, or its node, is in trouble. */
export async function runStatus(
  { stdout }: Pick<ProgramDeps, 'stdout'>,
  config: ConfigOf<'status'>,
  isJson: boolean,
  signal: AbortSignal,
): Promise<number> {
  const reports = await readReports(config, signal);
  stdout(isJson ? `${JSON.stringify(reports, undefined, 2)}\n` : formatStatus(reports));
  return reports.length > 0 && reports.every(isWell) ? EXIT_OK : EXIT_TROUBLE;
}

function isWell({ status }: MirrorReport): boolean {
  return status !== undefined && status.missing.length === 0 && status.verdict.result !== 'incompatible';
}

async function readReports(
  { address, kubeconfig, namespace }: ConfigOf<'status'>,
  signal: AbortSignal,
): Promise<readonly MirrorReport[]> {
  if (address !== undefined) return askMirrors(address, signal);
  const client = createKubeClient({ kubeconfig, otherwise: 'kubectl' });
  try {
    return await listMirrors(client, namespace, signal);
  } finally {
    client.close();
  }
}
