import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

/** What the Dockerfile's stages run, as Debian packages; what these need comes with them. */
const PACKAGES = [
  'bash',
  'binutils',
  'coreutils',
  'dash',
  'findutils',
  'grep',
  'libatomic1',
  'libc-bin',
  'libstdc++6',
  'sed',
];
/** Where programs and what they need are. */
const PLACES = /^\/(bin|etc|lib|lib64|sbin|usr)\/./;
/** What of it nobody runs. */
const LEFT_OUT = /^\/usr\/(share|include)\//;
/** Folders that are links on Debian. */
const MERGED = ['bin', 'lib', 'lib64', 'sbin'];

/** The files of the lab's base image: parts of this machine's Debian, and the Node that npm ci brought. */
export interface LabBase {
  /** Changes when a file's package or Node does. */
  readonly version: string;
  readonly packages: readonly string[];
}

/** Throws when a package is not installed, with the command that installs it. */
export function describeLabBase(): LabBase {
  const packages = closureOf(PACKAGES);
  const versions = output('dpkg-query', ['--show', ...packages]);
  const hash = createHash('sha256').update(`${versions}${process.version}${process.arch}`);
  return { version: hash.digest('hex').slice(0, 12), packages };
}

/** Writes the files below `root`. */
export function layOutLabBase({ packages }: LabBase, root: string): void {
  fs.mkdirSync(path.join(root, 'usr/local/bin'), { recursive: true });
  for (const name of ['etc', 'proc', 'root', 'src', 'tmp', 'var']) fs.mkdirSync(path.join(root, name));
  for (const name of MERGED) {
    fs.mkdirSync(path.join(root, 'usr', name), { recursive: true });
    fs.symlinkSync(`usr/${name}`, path.join(root, name));
  }
  const listed = output('dpkg-query', ['--listfiles', ...packages]).split('\n');
  for (const file of listed.filter((name) => PLACES.test(name) && !LEFT_OUT.test(name)).map(realName)) {
    const status = fs.lstatSync(file, { throwIfNoEntry: false });
    const target = path.join(root, file);
    if (status === undefined || status.isDirectory()) continue;
    fs.mkdirSync(path.dirname(target), { recursive: true });
    if (status.isSymbolicLink()) fs.symlinkSync(fs.readlinkSync(file), target);
    else fs.copyFileSync(file, target, fs.constants.COPYFILE_FICLONE);
  }
  fs.copyFileSync(process.execPath, path.join(root, 'usr/local/bin/node'), fs.constants.COPYFILE_FICLONE);
  fs.writeFileSync(path.join(root, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
}

/** Its folder's links followed, but not its own. */
function realName(file: string): string {
  const folder = path.dirname(file);
  return fs.existsSync(folder) ? path.join(fs.realpathSync(folder), path.basename(file)) : file;
}

function closureOf(names: readonly string[]): readonly string[] {
  const kinds = ['suggests', 'recommends', 'conflicts', 'breaks', 'replaces', 'enhances'].map((kind) => `--no-${kind}`);
  const text = output('apt-cache', ['depends', '--recurse', '--installed', ...kinds, ...names]);
  const all = text.split('\n').filter((line) => /^[a-z0-9]/.test(line));
  const missing = names.filter((name) => !all.includes(name));
  if (missing.length > 0) throw new Error(`packages are missing: apt-get install ${missing.join(' ')}`);
  return [...new Set(all)].toSorted();
}

function output(program: string, args: readonly string[]): string {
  return execFileSync(program, args, { encoding: 'utf8', maxBuffer: 16 * 1024 * 1024 });
}
