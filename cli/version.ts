import { readFileSync } from 'node:fs';

// Put in by scripts/build.ts; there is nothing of the kind when the sources run as they are.
declare const MIROIR_VERSION: string | undefined;
declare const MIROIR_COMMIT: string | undefined;

/** `0.1.0 (commit 1a2b3c4d5e6f, Node v26.10.0)`. */
export function describeVersion(): string {
  const commit = typeof MIROIR_VERSION === 'string' ? `commit ${MIROIR_COMMIT}` : 'from sources';
  return `${readVersion()} (${commit}, Node ${process.version})`;
}

/** `0.1.0` */
export function readVersion(): string {
  return typeof MIROIR_VERSION === 'string' ? MIROIR_VERSION : sourceVersion();
}

function sourceVersion(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { readonly version: string }).version;
}
