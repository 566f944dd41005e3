import path from 'node:path';
import { parseAllDocuments } from 'yaml';
import { run } from '../namespace.ts';
import { findBuilt } from '../programs.ts';

export const CHART = path.join(import.meta.dirname, '..', '..', '..', 'charts', 'miroir');

export interface Manifest {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
}

/** As the lab's programs are called: Helm 4 and Helm 3. */
export type HelmProgram = 'helm' | 'helm3';

/** Runs Helm 4; resolves to what it wrote. Throws ERR_LAB_COMMAND_FAILED with its own words, ERR_LAB_REQUIREMENT_MISSING. */
export function helm(args: readonly string[], signal: AbortSignal): Promise<string> {
  return runHelm('helm', args, signal);
}

/** The same by either of them. */
export async function runHelm(program: HelmProgram, args: readonly string[], signal: AbortSignal): Promise<string> {
  const argv = [path.join(findBuilt(program), 'helm'), ...args];
  return (await run(argv, { title: `${program} ${args[0]}` }, signal)).stdout;
}

/** Renders the chart away from a cluster. */
export async function renderChart(args: readonly string[], signal: AbortSignal): Promise<readonly Manifest[]> {
  return parseManifests(await helm(['template', 'miroir', CHART, '--namespace=miroir', ...args], signal));
}

/** Of what `helm template` or `helm get manifest` wrote. */
export function parseManifests(text: string): readonly Manifest[] {
  return parseAllDocuments(text)
    .map((document) => document.toJS() as Manifest | null)
    .filter((manifest) => manifest !== null);
}

/** Sorted: Kustomize and each Helm have an order of their own. */
export function byName(manifests: readonly Manifest[]): readonly Manifest[] {
  const name = ({ kind, metadata }: Manifest) => `${kind}/${metadata.name}`;
  return manifests.toSorted((a, b) => name(a).localeCompare(name(b)));
}

/** Where the API has objects of the kind: plural names are regular but for those in -y. */
export function pathOf({ apiVersion, kind, metadata: { namespace } }: Manifest): string {
  const plural = `${kind.toLowerCase().replace(/y$/, 'ie')}s`;
  const place = namespace === undefined ? '' : `/namespaces/${namespace}`;
  return `/${apiVersion.includes('/') ? 'apis' : 'api'}/${apiVersion}${place}/${plural}`;
}
