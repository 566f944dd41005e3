import { readFileSync } from 'node:fs';

// Put in by scripts/build.ts; there is nothing of the kind when the sources run as they are.
declare const MIROIR_VERSION: string | undefined;
declare const MIROIR_COMMIT: string | undefined;

/** `0.1.0 (commit 1a2b3c4d5e6f, Node v26.10.0)`. */
export function describeVersion(): string {
  const isBuilt = typeof MIROIR_VERSION === 'string';
  const version = isBuilt ? MIROIR_VERSION : sourceVersion();
  const commit = isBuilt ? `commit ${MIROIR_COMMIT}` : 'from sources';
  return `${version} (${commit}, Node ${process.version})`;
}

function sourceVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { readonly version: string }).version;
}
