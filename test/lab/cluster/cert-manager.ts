import path from 'node:path';
import { fetchModuleFolder } from '../go-module.ts';
import type { Program } from '../namespace.ts';
import { findBuilt } from '../programs.ts';
import { startChildProgram } from './child-program.ts';
import type { ControlPlane } from './control-plane.ts';
import { installKinds } from './custom-kinds.ts';

export interface CertManager {
  stop(): Promise<void>;
}

const METRICS_PORT = 9402;

/**
 * cert-manager's controller and its injector of caBundles, with all rights, and its kinds. It has no webhook of its own here: nobody
 * checks what is asked of it. Throws ERR_LAB_REQUIREMENT_MISSING when it is not built, and says how to.
 */
export async function startCertManager(plane: ControlPlane, signal: AbortSignal): Promise<CertManager> {
  const folder = findBuilt('cert-manager');
  await installKinds(plane, path.join(folder, 'crds'), signal);
  const start = (name: string, ...flags: readonly string[]) =>
    startChildProgram(
      [path.join(folder, name), `--kubeconfig=${plane.kubeconfig}`, '--leader-elect=false', ...flags],
      path.join(plane.folder, `cert-manager-${name}.log`),
    );
  const programs: readonly Program[] = [
    start('controller', `--metrics-listen-address=${plane.address}:${METRICS_PORT}`),
    start('cainjector'),
  ];
  return {
    stop: async () => {
      await Promise.all(programs.map((program) => program.stop('SIGKILL')));
    },
  };
}

/** The kinds of a version that is not built, from its module. */
export function fetchCertManagerKinds(version: string, signal: AbortSignal): Promise<string> {
  const from = { module: `github.com/cert-manager/cert-manager@v${version}`, folder: 'deploy/crds' };
  return fetchModuleFolder(`schemas-cert-manager-${version}`, from, signal);
}
