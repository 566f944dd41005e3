/** `npm run build`: makes `dist/`, which is the launcher `miroir` and one bundled file. The same sources give the same bytes. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { build } from 'esbuild';

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
await build({
  absWorkingDir: ROOT,
  entryPoints: ['cli/main.ts'],
  outfile: 'dist/miroir.js',
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node26',
  // Node keeps the source in memory: a smaller one is less of it.
  minify: true,
  // Errors are told apart by name, in our code and in that of others.
  keepNames: true,
  sourcemap: false,
  legalComments: 'none',
  banner: { js: REQUIRE_FOR_COMMONJS },
  define: { MIROIR_VERSION: JSON.stringify(readVersion()), MIROIR_COMMIT: JSON.stringify(readCommit()) },
  logLevel: 'warning',
});
writeFileSync(path.join(DIST, 'miroir'), readFileSync(path.join(import.meta.dirname, 'launcher.sh')), { mode: 0o755 });
const kib = Math.round(statSync(path.join(DIST, 'miroir.js')).size / 1024);
process.stdout.write(`dist/miroir (${kib} KiB bundle, ${readVersion()}, commit ${readCommit()})\n`);
