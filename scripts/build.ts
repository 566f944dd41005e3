/** `npm run build`: makes `dist/`, which is the launcher `miroir` and its bundle. The same sources give the same bytes. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';
import { describeBundle } from './sbom.ts';

const ROOT = path.join(import.meta.dirname, '..');
const DIST = path.join(ROOT, 'dist');

/** CommonJS packages inside the bundle ask for Node's modules by require, which a module does not have. */
const REQUIRE_FOR_COMMONJS =
  "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";

function readVersion(): string {
  const text = readFileSync(path.join(ROOT, 'package.json'), 'utf8');
  return (JSON.parse(text) as { readonly version: string }).version;
}

/** Where there is no git, as in an image build, the caller names the commit. */
function readCommit(): string {
  const named = process.env['MIROIR_COMMIT'];
  if (named !== undefined && named !== '') return named;
  const git = (...args: string[]) =>
    execFileSync('git', args, { cwd: ROOT, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  try {
    const isDirty = git('status', '--porcelain', '--untracked-files=no') !== '';
    return `${git('rev-parse', '--short=12', 'HEAD')}${isDirty ? '-dirty' : ''}`;
  } catch {
    return 'unknown';
  }
}

rmSync(DIST, { recursive: true, force: true });
mkdirSync(DIST);
const { metafile } = await build({
  absWorkingDir: ROOT,
  entryPoints: { miroir: 'cli/main.ts' },
  outdir: 'dist',
  bundle: true,
  // What is imported when it is needed stays in a file of its own, which is not read before: the other router's libraries
  // alone are 10 MB of a mirror's memory.
  splitting: true,
  chunkNames: 'chunks/[name]-[hash]',
  platform: 'node',
  format: 'esm',
  target: 'node26',
  // Node keeps the source in memory: a smaller one is less of it.
  minify: true,
  // Errors are told apart by name, in our code and in that of others.
  keepNames: true,
  sourcemap: false,
  metafile: true,
  legalComments: 'none',
  banner: { js: REQUIRE_FOR_COMMONJS },
  define: { MIROIR_VERSION: JSON.stringify(readVersion()), MIROIR_COMMIT: JSON.stringify(readCommit()) },
  logLevel: 'warning',
});
writeFileSync(path.join(DIST, 'sbom.cdx.json'), describeBundle(Object.keys(metafile.inputs), readVersion()));
writeFileSync(path.join(DIST, 'miroir'), readFileSync(path.join(import.meta.dirname, 'launcher.sh')), { mode: 0o755 });
const files = readdirSync(DIST, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.js'));
const bytes = files.reduce((sum, file) => sum + statSync(path.join(DIST, file)).size, 0);
process.stdout.write(`dist/miroir ${readVersion()}, commit ${readCommit()}: ${Math.round(bytes / 1024)} KiB\n`);
