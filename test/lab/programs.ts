import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { LabError } from './lab-error.ts';

/** Where `npm run lab -- build` puts what it makes: one folder per program and version. */
export const BIN_ROOT = path.join(import.meta.dirname, '..', '..', '.lab', 'bin');
const DEBIAN_BIN = '/usr/bin';

export interface Containerd {
  readonly version: string;
  /** Holds containerd, ctr and the shim. */
  readonly binFolder: string;
}

/** Finds a containerd by the beginning of its version: `1.6.20`, `2.4`, `2`. Throws ERR_LAB_REQUIREMENT_MISSING. */
export function findContainerd(wanted: string): Containerd {
  const all = listContainerds();
  const found = all.find(({ version }) => version === wanted || version.startsWith(`${wanted}.`));
  if (found) return found;
  const have = all.length === 0 ? 'there is none' : `there is ${all.map(({ version }) => version).join(' and ')}`;
  const fix = wanted.startsWith('1.') ? 'apt-get install containerd' : 'npm run lab -- build containerd';
  throw new LabError('ERR_LAB_REQUIREMENT_MISSING', `no containerd ${wanted} (${have}); get it with: ${fix}`);
}

/** Debian's and the built ones. */
export function listContainerds(): readonly Containerd[] {
  const built = fs.existsSync(BIN_ROOT)
    ? fs.readdirSync(BIN_ROOT).filter((name) => name.startsWith('containerd-'))
    : [];
  const containerds = built.map((name) => ({
    version: name.slice('containerd-'.length),
    binFolder: path.join(BIN_ROOT, name),
  }));
  const debian = debianVersion();
  return debian === undefined ? containerds : [{ version: debian, binFolder: DEBIAN_BIN }, ...containerds];
}

/** Asked once: each answer takes a process. */
let knownDebianVersion: string | undefined;

function debianVersion(): string | undefined {
  const program = path.join(DEBIAN_BIN, 'containerd');
  if (!fs.existsSync(program)) return undefined;
  // `containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u2`
  knownDebianVersion ??= / (\d+\.\d+\.\d+)/.exec(execFileSync(program, ['--version'], { encoding: 'utf8' }))?.[1];
  return knownDebianVersion;
}

/** The folder of a built program, of its newest version. Throws ERR_LAB_REQUIREMENT_MISSING, which says how to build it. */
export function findBuilt(name: string): string {
  const folders = fs.existsSync(BIN_ROOT) ? fs.readdirSync(BIN_ROOT) : [];
  const newest = folders
    .filter((folder) => folder.startsWith(`${name}-`))
    .toSorted((a, b) => a.localeCompare(b, 'en', { numeric: true }))
    .at(-1);
  if (newest !== undefined) return path.join(BIN_ROOT, newest);
  throw new LabError(
    'ERR_LAB_REQUIREMENT_MISSING',
    `there is no ${name} in ${BIN_ROOT}; get it with: npm run lab -- build ${name}`,
  );
}
