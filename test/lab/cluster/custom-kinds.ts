import fs from 'node:fs';
import path from 'node:path';
import { parse } from 'yaml';
import { fetchModuleFolder } from '../go-module.ts';
import { until } from '../namespace.ts';
import type { ControlPlane } from './control-plane.ts';
import type { Manifest } from './helm.ts';

interface Definition extends Manifest {
  readonly spec: { readonly group: string; readonly names: { readonly plural: string } };
}

/** The kinds of a version of the Prometheus operator, from its module. */
export function fetchMonitoringKinds(version: string, signal: AbortSignal): Promise<string> {
  const module = `github.com/prometheus-operator/prometheus-operator@v${version}`;
  return fetchModuleFolder(
    `schemas-monitoring-${version}`,
    { module, folder: 'example/prometheus-operator-crd' },
    signal,
  );
}

/** The kinds that a folder of CustomResourceDefinitions has in version v1, those of the plural names alone if there are any, without anybody who does something about them. */
export async function installKinds(
  { call }: ControlPlane,
  folder: string,
  signal: AbortSignal,
  only: readonly string[] = [],
): Promise<void> {
  const definitions = fs
    .readdirSync(folder)
    .filter((name) => name.endsWith('.yaml'))
    .map((file) => parse(fs.readFileSync(path.join(folder, file), 'utf8')) as Definition)
    .filter(({ spec }) => only.length === 0 || only.includes(spec.names.plural));
  if (definitions.length < Math.max(1, only.length)) throw new Error(`${folder} does not have them`);
  await Promise.all(
    definitions.map(async ({ metadata, ...rest }) => {
      // Labels of some versions are for Helm to fill in.
      const body = { ...rest, metadata: { name: metadata.name } };
      const answer = await call('POST', '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', body);
      if (answer.status !== 201) throw new Error(`${metadata.name}: ${JSON.stringify(answer.body)}`);
      const { group, names } = rest.spec;
      await until(async () => (await call('GET', `/apis/${group}/v1/${names.plural}`)).status === 200, signal);
    }),
  );
}
