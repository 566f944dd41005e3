import fs from 'node:fs';
import path from 'node:path';
import type { RouterName } from '../../conformance/libp2p-fixture.ts';
import type { Lab } from '../../lab/lab.ts';
import { type Program, until } from '../../lab/namespace.ts';
import type { LabNode } from '../../lab/node.ts';
import { READY_URL } from '../../lab/node-mirror.ts';
import { type ProcessMemory, processMemory } from './process.ts';

/** As it is shipped: the launcher with its flags and the bundle, which take less memory than the sources do. */
const BUILT = path.join(import.meta.dirname, '..', '..', '..', 'dist', 'miroir');
const READY_MS = 60_000;

export interface BuiltMirror extends ProcessMemory {
  readonly program: Program;
}

/** Starts `dist/miroir mirror` on a node of the lab; resolves when it is ready. */
export async function startBuiltMirror(
  lab: Lab,
  node: LabNode,
  router: RouterName,
  signal: AbortSignal,
): Promise<BuiltMirror> {
  if (!fs.existsSync(BUILT)) throw new Error('dist/miroir is missing: npm run build');
  const flags = {
    'advertise-address': node.address,
    members: lab.nodes.map(({ address }) => address).join(),
    'swarm-key-file': lab.swarmKeyFile,
    router,
  };
  const args = Object.entries(flags).flatMap(([flag, value]) => [`--${flag}`, value]);
  const program = node.start(`built-mirror-${router}`, [BUILT, 'mirror', ...args]);
  const deadline = AbortSignal.any([signal, AbortSignal.timeout(READY_MS)]);
  const complain = () => `the mirror of ${node.name} is not ready: ${program.logTail()}`;
  const isReady = async () => {
    if (!program.isRunning()) throw new Error(complain());
    return node.fetch(READY_URL).then(
      ({ status }) => status === 200,
      () => false,
    );
  };
  await until(isReady, deadline, complain);
  return { program, ...processMemory(() => program.pid() as number) };
}
