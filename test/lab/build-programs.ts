import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import { fetchModule } from './go-module.ts';
import { LabError } from './lab-error.ts';
import { BIN_ROOT } from './programs.ts';

/**
 * The Go programs of the lab. Each has a folder with a go.mod of its own, since their requirements clash, that names the
 * commands as tools: what is built, and in which version, is in the go.mod and nowhere else.
 */
const PROGRAMS_ROOT = path.join(import.meta.dirname, 'programs');
const STAMP_FILE = 'stamp';
/** Compiled packages between two lines of progress: a line every few seconds on two cores. */
const PROGRESS_PACKAGES = 50;
const COMMON_FLAGS = ['-buildvcs=false', '-trimpath'];

interface Recipe {
  /** Its version is the program's. */
  readonly module: string;
  readonly flags: readonly string[];
  /** A variable that the linker sets to the version, for programs that would not know it otherwise. */
  readonly versionVariable?: string;
  /** What that variable starts with, before the number. */
  readonly versionPrefix?: 'v';
  /** A folder of the module that goes along with the programs, under its own name. */
  readonly moduleFolder?: string;
}

const RECIPES: Readonly<Record<string, Recipe>> = {
  'cert-manager': {
    // From 1.12 on its commands are modules of their own, whose paths are not where they lie: Go's proxy has none of them.
    module: 'github.com/cert-manager/cert-manager',
    flags: [],
    versionVariable: 'github.com/cert-manager/cert-manager/pkg/util.AppVersion',
    versionPrefix: 'v',
    moduleFolder: 'deploy/crds',
  },
  containerd: {
    module: 'github.com/containerd/containerd/v2',
    flags: ['-tags=no_btrfs no_devmapper no_zfs'], // Snapshotters that need C libraries and that no node here has.
    versionVariable: 'github.com/containerd/containerd/v2/version.Version',
  },
  coredns: { module: 'github.com/coredns/coredns', flags: [] },
  etcd: { module: 'go.etcd.io/etcd/server/v3', flags: [] },
  helm: {
    module: 'helm.sh/helm/v4',
    flags: [],
    versionVariable: 'helm.sh/helm/v4/internal/version.version',
    versionPrefix: 'v',
  },
  helm3: {
    module: 'helm.sh/helm/v3',
    flags: [],
    versionVariable: 'helm.sh/helm/v3/internal/version.version',
    versionPrefix: 'v',
  },
  kubernetes: {
    module: 'k8s.io/kubernetes',
    flags: [],
    versionVariable: 'k8s.io/component-base/version.gitVersion',
    versionPrefix: 'v',
  },
  kustomize: { module: 'sigs.k8s.io/kustomize/kustomize/v5', flags: [] },
  'oci-conformance': { module: 'github.com/opencontainers/distribution-spec/conformance', flags: [] },
};

export interface BuiltProgram {
  readonly name: string;
  readonly folder: string;
  /** False when what was there has the same stamp. */
  readonly wasBuilt: boolean;
}

export function programNames(): readonly string[] {
  return Object.keys(RECIPES);
}

/** Builds a program unless it is there already. Throws ERR_LAB_REQUIREMENT_MISSING without Go, ERR_LAB_COMMAND_FAILED. */
export async function buildProgram(
  name: string,
  progress: (line: string) => void,
  signal: AbortSignal,
): Promise<BuiltProgram> {
  const recipe = RECIPES[name];
  if (!recipe)
    throw new LabError('ERR_LAB_WISH_INVALID', `the lab builds ${programNames().join(', ')}, but no ${name}`);
  const source = path.join(PROGRAMS_ROOT, name);
  const { version, tools } = parseGoMod(fs.readFileSync(path.join(source, 'go.mod'), 'utf8'), recipe.module);
  const title = `${name}-${version}`;
  const folder = path.join(BIN_ROOT, title);
  const stamp = stampOf(source, recipe);
  const stampFile = path.join(folder, STAMP_FILE);
  if (fs.existsSync(stampFile) && fs.readFileSync(stampFile, 'utf8') === stamp)
    return { name, folder, wasBuilt: false };

  fs.mkdirSync(BIN_ROOT, { recursive: true });
  const draft = fs.mkdtempSync(path.join(BIN_ROOT, '.building-'));
  try {
    progress(`${title}: fetching and compiling, minutes when Go has none of it yet`);
    const setVersion =
      recipe.versionVariable === undefined
        ? ''
        : ` -X ${recipe.versionVariable}=${recipe.versionPrefix ?? ''}${version}`;
    const flags = [...COMMON_FLAGS, ...recipe.flags, `-ldflags=-s -w${setVersion}`];
    await runGo(['build', '-v', ...flags, '-o', `${draft}/`, ...tools], { source, title }, progress, signal);
    if (recipe.moduleFolder !== undefined) {
      const folderOfModule = await fetchModule(`${recipe.module}@v${version}`, signal);
      const from = path.join(folderOfModule, recipe.moduleFolder);
      fs.cpSync(from, path.join(draft, path.basename(from)), { recursive: true });
    }
    fs.writeFileSync(path.join(draft, STAMP_FILE), stamp);
    fs.chmodSync(draft, 0o755);
    fs.rmSync(folder, { recursive: true, force: true });
    fs.renameSync(draft, folder);
  } finally {
    fs.rmSync(draft, { recursive: true, force: true });
  }
  progress(`${title}: done`);
  return { name, folder, wasBuilt: true };
}

function stampOf(source: string, recipe: Recipe): string {
  const hash = createHash('sha256').update(JSON.stringify([COMMON_FLAGS, recipe]));
  for (const file of ['go.mod', 'go.sum']) hash.update(fs.readFileSync(path.join(source, file)));
  return hash.digest('hex');
}

/** Reads what the build needs of https://go.dev/ref/mod: the version of one requirement, and the tools. */
function parseGoMod(text: string, module: string): { version: string; tools: string[] } {
  const lines = text.split('\n').map((line) => line.replace(/\/\/.*/, '').trim());
  const tools: string[] = [];
  let version: string | undefined;
  let block = '';
  for (const line of lines) {
    const opened = /^(\w+) \($/.exec(line)?.[1];
    if (opened !== undefined) block = opened;
    else if (line === ')') block = '';
    const [directive, ...words] = (block ? `${block} ${line}` : line).split(/\s+/);
    if (opened !== undefined) continue;
    if (directive === 'tool' && words[0] !== undefined && words[0] !== '') tools.push(words[0]);
    if (directive === 'require' && words[0] === module) version = words[1];
  }
  if (version === undefined || tools.length === 0)
    throw new Error(`the go.mod of ${module} names no version or no tool`);
  return { version: version.replace(/^v/, ''), tools };
}

async function runGo(
  args: readonly string[],
  { source, title }: { readonly source: string; readonly title: string },
  progress: (line: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const env = { ...process.env, GOFLAGS: '-mod=readonly', CGO_ENABLED: '0' };
  const go = spawn('go', args, { cwd: source, env, stdio: ['ignore', 'ignore', 'pipe'], signal });
  const lines: string[] = [];
  const reader = readline.createInterface({ input: go.stderr });
  reader.on('line', (line) => {
    lines.push(line);
    if (lines.length % PROGRESS_PACKAGES === 0) progress(`${title}: ${lines.length} packages fetched or compiled`);
  });
  try {
    const [code] = (await once(go, 'close')) as [number | null];
    if (code === 0) return;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    const fix =
      'install Go 1.21 or newer from https://go.dev/dl (Debian 12 has an older one): it fetches the version it needs';
    throw new LabError('ERR_LAB_REQUIREMENT_MISSING', `${title} is a Go program and there is no go: ${fix}`, {
      cause: error,
    });
  }
  throw new LabError(
    'ERR_LAB_COMMAND_FAILED',
    `go ${args.join(' ')} failed in ${source}:\n${lines.slice(-20).join('\n')}`,
  );
}
