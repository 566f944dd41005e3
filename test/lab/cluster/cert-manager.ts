import fs from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { type Program, until } from '../namespace.ts';
import { findBuilt } from '../programs.ts';
import { startChildProgram } from './child-program.ts';
import type { ControlPlane } from './control-plane.ts';
import type { Manifest } from './helm.ts';

export interface CertManager {
  stop(): Promise<void>;
}

const METRICS_PORT = 9402;

/**
 * cert-manager's controller and its injector of caBundles, with all rights, and its kinds. It has no webhook of its own here: nobody
 * checks what is asked of it. Throws ERR_LAB_REQUIREMENT_MISSING when it is not built, and says how to.
 */
export async function startCertManager(plane: ControlPlane, signal: AbortSignal): Promise<CertManager> {
  await installCertManagerKinds(plane, signal);
  const folder = findBuilt('cert-manager');
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

interface Definition extends Manifest {
  readonly spec: { readonly group: string; readonly names: { readonly plural: string } };
}

/** Certificates, Issuers and the rest, without anybody who does something about them. Throws as above. */
export async function installCertManagerKinds({ call }: ControlPlane, signal: AbortSignal): Promise<void> {
  const folder = path.join(findBuilt('cert-manager'), 'crds');
  const files = fs.readdirSync(folder).filter((name) => name.endsWith('.yaml'));
  await Promise.all(
    files.map(async (file) => {
      const { metadata, ...rest } = parse(fs.readFileSync(path.join(folder, file), 'utf8')) as Definition;
      // Its labels are for Helm to fill in.
      const body = { ...rest, metadata: { name: metadata.name } };
      const answer = await call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', body);
      if (answer.status !== 201) throw new Error(`${file}: ${JSON.stringify(answer.body)}`);
      const { group, names } = rest.spec;
      await until(async () => (await call('GET', `/apis/${group}/v1/${names.plural}`)).status === 200, signal);
    }),
  );
}
