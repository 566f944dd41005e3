import type { ConfigOf } from '../common/config/settings.ts';
import { hasCode } from '../common/errors.ts';
import { createContainerdClient } from '../containerd/api/client.ts';
import { createCriClient } from '../containerd/api/cri.ts';
import { verdictOfFault } from '../containerd/verdict/judge-containerd.ts';
import { judgeNode } from '../containerd/verdict/judge-node.ts';
import type { Verdict, VerdictResult } from '../containerd/verdict/verdict.ts';
import { formatVerdict } from './format-verdict.ts';
import type { ProgramDeps } from './program.ts';

/** What scripts test. A fault must not look like a verdict, so it is `unknown` too. */
const EXIT_CODES: Readonly<Record<VerdictResult, number>> = { compatible: 0, incompatible: 1, unknown: 2 };

/** Judges this node's containerd and prints the verdict. Resolves to the exit code; throws only ERR_ABORTED. */
export async function runCheck(
  { stdout }: Pick<ProgramDeps, 'stdout'>,
  config: ConfigOf<'check'>,
  isJson: boolean,
  signal: AbortSignal,
): Promise<number> {
  const verdict = await judge(config, signal);
  stdout(isJson ? `${JSON.stringify(verdict, undefined, 2)}\n` : formatVerdict(verdict));
  return EXIT_CODES[verdict.result];
}

async function judge(
  { containerdSocket: socket, certsDir, configPath }: ConfigOf<'check'>,
  signal: AbortSignal,
): Promise<Verdict> {
  const client = createContainerdClient({ socket, namespace: 'k8s.io' });
  const cri = createCriClient({ socket });
  try {
    const options = { socket, certsDir, configFile: configPath, isProbed: true };
    return (await judgeNode({ client, cri }, options, signal)).verdict;
  } catch (error) {
    if (hasCode(error, 'ERR_ABORTED')) throw error;
    return verdictOfFault(error); // An exit code of 1 would call the node incompatible.
  } finally {
    client.close();
    cri.close();
  }
}
