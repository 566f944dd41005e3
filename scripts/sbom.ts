import fs from 'node:fs';
import path from 'node:path';

const ROOT = path.join(import.meta.dirname, '..');

interface LockedPackage {
  readonly version?: string;
  readonly license?: string;
  readonly integrity?: string;
}

/**
 * What the bundle is made of, as CycloneDX: the packages of which a file is in it, as package-lock.json has them, and Node. `inputs` are
 * the bundler's, relative to the root. The same sources give the same bytes, so there is no time and no serial number in it.
 */
export function describeBundle(inputs: readonly string[], version: string): string {
  const lock = JSON.parse(fs.readFileSync(path.join(ROOT, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, LockedPackage>>;
  };
  const folders = new Set(inputs.map(packageFolder).filter((folder) => folder !== undefined));
  const components = [...folders].toSorted().map((folder) => {
    const locked = lock.packages[folder];
    if (locked?.version === undefined) throw new Error(`${folder} is bundled, and not in package-lock.json`);
    return component(folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length), locked);
  });
  const node = {
    type: 'platform',
    name: 'node',
    version: process.versions.node,
    purl: `pkg:generic/node@${process.versions.node}`,
  };
  const metadata = {
    component: { type: 'application', name: 'miroir', version, licenses: [{ expression: 'Apache-2.0' }] },
  };
  const bom = { bomFormat: 'CycloneDX', specVersion: '1.6', version: 1, metadata, components: [node, ...components] };
  return `${JSON.stringify(bom, undefined, 1)}\n`;
}

/** `node_modules/@scope/name`, or undefined for a file of ours. */
function packageFolder(input: string): string | undefined {
  return /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/.exec(input)?.[0];
}

function component(name: string, { version, license, integrity }: LockedPackage): object {
  const [algorithm, hash = ''] = integrity?.split('-') ?? [];
  const content = Buffer.from(hash, 'base64').toString('hex');
  return {
    type: 'library',
    name,
    version,
    purl: `pkg:npm/${name.replace('@', '%40')}@${version}`,
    ...(license !== undefined && { licenses: [{ expression: license }] }),
    ...(algorithm === 'sha512' && { hashes: [{ alg: 'SHA-512', content }] }),
  };
}
