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

/** Runs helm; resolves to what it wrote. Throws ERR_LAB_COMMAND_FAILED with its own words, ERR_LAB_REQUIREMENT_MISSING. */
export async function helm(args: readonly string[], signal: AbortSignal): Promise<string> {
  const argv = [path.join(findBuilt('helm'), 'helm'), ...args];
  return (await run(argv, { title: `helm ${args[0]}` }, signal)).stdout;
}

/** Renders the chart away from a cluster. */
export async function renderChart(args: readonly string[], signal: AbortSignal): Promise<readonly Manifest[]> {
  const text = await helm(['template', 'miroir', CHART, '--namespace=miroir', ...args], signal);
  return parseAllDocuments(text)
    .map((document) => document.toJS() as Manifest | null)
    .filter((manifest) => manifest !== null);
}

/** Where the API has objects of the kind: plural names are regular but for those in -y. */
export function pathOf({ apiVersion, kind, metadata: { namespace } }: Manifest): string {
  const plural = `${kind.toLowerCase().replace(/y$/, 'ie')}s`;
  const place = namespace === undefined ? '' : `/namespaces/${namespace}`;
  return `/${apiVersion.includes('/') ? 'apis' : 'api'}/${apiVersion}${place}/${plural}`;
}
