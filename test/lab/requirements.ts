import fs from 'node:fs';
import path from 'node:path';
import { LabError } from './lab-error.ts';

/** Something that the lab cannot do without. */
export interface Requirement {
  readonly what: string;
  readonly isMet: boolean;
  readonly fix: string;
}

/** Each program, and the Debian package that has it. */
const PROGRAMS: Readonly<Record<string, string>> = {
  bash: 'bash',
  busybox: 'busybox-static',
  containerd: 'containerd',
  'docker-registry': 'docker-registry',
  ip: 'iproute2',
  mount: 'mount',
  nft: 'nftables',
  nsenter: 'util-linux',
  runc: 'runc',
  setpriv: 'util-linux',
  tc: 'iproute2',
  unshare: 'util-linux',
};

/** Debian keeps some of these out of the path of those who are not root. */
const SYSTEM_PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** Everything that a lab of Debian's containerd needs; other containerds are built. */
export function listRequirements(): readonly Requirement[] {
  const programs = Object.entries(PROGRAMS).map(([program, debianPackage]) => ({
    what: program,
    isMet: SYSTEM_PATH.some((folder) => fs.existsSync(path.join(folder, program))),
    fix: `apt-get install --no-install-recommends ${debianPackage}`,
  }));
  return [
    { what: 'Linux', isMet: process.platform === 'linux', fix: 'run it on a Linux machine or virtual machine' },
    { what: 'root', isMet: process.getuid?.() === 0, fix: 'run it as root, with sudo for example' },
    ...programs,
  ];
}

/** Throws ERR_LAB_REQUIREMENT_MISSING that names all that is missing, and one command that gets it. */
export function requireAll(): void {
  const missing = listRequirements().filter(({ isMet }) => !isMet);
  if (missing.length === 0) return;
  const install = 'apt-get install --no-install-recommends ';
  const packages = new Set(
    missing.filter(({ fix }) => fix.startsWith(install)).map(({ fix }) => fix.slice(install.length)),
  );
  const others = missing.filter(({ fix }) => !fix.startsWith(install)).map(({ fix }) => fix);
  const fixes = [...others, ...(packages.size > 0 ? [install + [...packages].join(' ')] : [])];
  const names = missing.map(({ what }) => what).join(', ');
  throw new LabError('ERR_LAB_REQUIREMENT_MISSING', `the lab misses ${names}; ${fixes.join('; ')}`);
}
