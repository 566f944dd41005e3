import fs from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { fetchModuleFolder } from '../go-module.ts';
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
  const folder = findBuilt('cert-manager');
  await installCertManagerKinds(plane, path.join(folder, 'crds'), signal);
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

/** The kinds of a version that is not built, from its module. */
export function fetchCertManagerKinds(version: string, signal: AbortSignal): Promise<string> {
  const from = { module: `github.com/cert-manager/cert-manager@v${version}`, folder: 'deploy/crds' };
  return fetchModuleFolder(`schemas-cert-manager-${version}`, from, signal);
}

/** Certificates, Issuers and the rest, from a folder of theirs, without anybody who does something about them. */
export async function installCertManagerKinds(
  { call }: ControlPlane,
  folder: string,
  signal: AbortSignal,
): Promise<void> {
  const files = fs.readdirSync(folder).filter((name) => name.endsWith('.yaml'));
  await Promise.all(
    files.map(async (file) => {
      const { metadata, ...rest } = parse(fs.readFileSync(path.join(folder, file), 'utf8')) as Definition;
      // Labels of some versions are for Helm to fill in.
      const body = { ...rest, metadata: { name: metadata.name } };
      const answer = await call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', body);
      if (answer.status !== 201) throw new Error(`${file}: ${JSON.stringify(answer.body)}`);
      const { group, names } = rest.spec;
      await until(async () => (await call('GET', `/apis/${group}/v1/${names.plural}`)).status === 200, signal);
    }),
  );
}
