import { execFile, execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { describeLabBase, layOutLabBase } from './lab-base.ts';

const ROOT = path.join(import.meta.dirname, '..');
/** Buildah's storage, apart from that of the machine. */
const STORAGE = path.join(ROOT, '.lab', 'images');
/** Of a program that tells each step. */
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;

export interface BuiltImage {
  readonly tag: string;
  /** Of its manifest: what a registry knows it by. */
  readonly digest: string;
  /** Unpacked: what it takes on a node's disk. */
  readonly bytes: number;
  /** The same by file, the largest first. */
  readonly files: readonly ImageFile[];
}

export interface ImageFile {
  /** `usr/local/bin/node` */
  readonly name: string;
  readonly bytes: number;
}

export interface ImageOptions {
  /** `localhost/miroir:dev` */
  readonly tag: string;
  /** Unless told, what an earlier build left is used. */
  readonly noCache?: boolean;
}

/**
 * Builds the Dockerfile without a network: on a base of this machine's Debian packages, with the packages of node_modules. Its
 * times are those of the commit, so that a second build has the same digest. Needs buildah and root.
 */
export async function buildImage({ tag, noCache = false }: ImageOptions, signal: AbortSignal): Promise<BuiltImage> {
  const base = await ensureBase(signal);
  const { version } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { version: string };
  const epoch = git('log', '-1', '--format=%ct');
  const commit = git('rev-parse', '--short=12', 'HEAD');
  const isDirty = git('status', '--porcelain', '--untracked-files=no') !== '';
  const args = { BASE: base, VERSION: version, COMMIT: `${commit}${isDirty ? '-dirty' : ''}` };
  const buildArgs = Object.entries(args).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]);
  const options = ['--isolation=chroot', '--layers', `--timestamp=${epoch}`, '--format=oci', '--pull-never'];
  const modules = `${path.join(ROOT, 'node_modules')}:/src/node_modules:ro`;
  const cache = noCache ? ['--no-cache'] : [];
  await buildah(['bud', ...options, ...cache, ...buildArgs, `--volume=${modules}`, `--tag=${tag}`, ROOT], signal);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-image-'));
  try {
    const digestFile = path.join(folder, 'digest');
    await buildah(['push', `--digestfile=${digestFile}`, tag, `oci:${folder}/layout:image`], signal);
    const files = await listFiles(tag, signal);
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    return { tag, digest: fs.readFileSync(digestFile, 'utf8'), bytes, files };
  } finally {
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

/** Runs buildah on the images' storage. Rejects with what it wrote when it fails. */
export async function buildah(args: readonly string[], signal: AbortSignal): Promise<string> {
  fs.mkdirSync(STORAGE, { recursive: true });
  const storage = [
    '--root',
    path.join(STORAGE, 'root'),
    '--runroot',
    path.join(STORAGE, 'run'),
    '--storage-driver=vfs',
  ];
  const options = { signal, maxBuffer: OUTPUT_BYTES_MAX };
  const { stdout } = await promisify(execFile)('buildah', [...storage, ...args], options);
  return stdout.trim();
}

/** Runs a command of the image as the image's user; resolves to what it wrote. */
export async function runInImage(tag: string, args: readonly string[], signal: AbortSignal): Promise<string> {
  const container = await buildah(['from', '--pull-never', tag], signal);
  try {
    return await buildah(['run', '--isolation=chroot', container, '--', ...args], signal);
  } finally {
    await buildah(['rm', container], new AbortController().signal);
  }
}

/** Removes tags, and what only they needed. Those that are not there are passed over. */
export async function removeImages(tags: readonly string[]): Promise<void> {
  const signal = new AbortController().signal;
  const there = (await buildah(['images', '--format={{.Name}}:{{.Tag}}'], signal)).split('\n');
  for (const tag of tags.filter((name) => there.includes(name))) await buildah(['rmi', tag], signal);
  // Buildah complains of an image that went together with its parent: nothing is left of it all the same.
  await buildah(['rmi', '--prune'], signal).catch(() => {});
}

async function ensureBase(signal: AbortSignal): Promise<string> {
  const base = describeLabBase();
  const tag = `localhost/miroir-lab-base:${base.version}`;
  const there = await buildah(['images', '--format={{.Name}}:{{.Tag}}'], signal);
  if (there.split('\n').includes(tag)) return tag;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-base-'));
  const container = await buildah(['from', 'scratch'], signal);
  try {
    layOutLabBase(base, folder);
    await buildah(['add', '--quiet', container, folder, '/'], signal);
    await buildah(['config', '--env', 'PATH=/usr/local/bin:/usr/bin:/bin', container], signal);
    await buildah(['commit', '--quiet', '--timestamp=0', container, tag], signal);
    return tag;
  } finally {
    await buildah(['rm', container], new AbortController().signal);
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

async function listFiles(tag: string, signal: AbortSignal): Promise<readonly ImageFile[]> {
  const container = await buildah(['from', '--pull-never', tag], signal);
  try {
    const folder = await buildah(['mount', container], signal);
    const entries = fs.readdirSync(folder, { recursive: true, withFileTypes: true });
    return entries
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => path.join(parentPath, name))
      .map((file) => ({ name: path.relative(folder, file), bytes: fs.statSync(file).size }))
      .toSorted((a, b) => b.bytes - a.bytes);
  } finally {
    await buildah(['rm', container], new AbortController().signal);
  }
}

function git(...args: string[]): string {
  return execFileSync('git', args, { cwd: ROOT, encoding: 'utf8' }).trim();
}
