import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import fc from 'fast-check';
import { parse } from 'smol-toml';
import { parseRegistry, type Registry } from '../../common/oci/reference.ts';
import { cleanup } from '../../containerd/cleanup.ts';
import { type ConfigureOptions, configure, configureRegistry } from '../../containerd/configure.ts';
import { certsTree, type Tree } from './hosts-arbitrary.ts';

const MIRROR = 'http://127.0.0.1:29981';
const registries = fc.option(
  fc
    .subarray([
      'docker.io',
      'registry.example',
      'localhost:5000',
      'reg.example:5000',
      'new.example',
      'other.example:444',
    ])
    .map((names) =>
      names.map((name) => ({
        name: parseRegistry(name) as Registry,
        ...(name.startsWith('other') && { upstream: 'http://10.2.2.2:5000' }),
      })),
    ),
  { nil: undefined },
);
const options: fc.Arbitrary<Omit<ConfigureOptions, 'certsDir'>> = fc.record({
  registries,
  mirrorAddress: fc.constantFrom({ host: '127.0.0.1', port: 29981 }, { host: '127.0.0.1', port: 31000 }),
  tags: fc.constantFrom('fresh', 'mirror-first', 'off'),
});

test('configure, any number of times, then cleanup restores certs.d byte for byte', async (t) => {
  await check(t, fc.array(options, { minLength: 1, maxLength: 3 }), async (certsDir, tree, runs) => {
    for (const run of runs) await configure({ certsDir, ...run });
    await configureRegistry({ certsDir, registry: { name: parseRegistry('seen.example') as Registry } });

    await cleanup({ certsDir });

    assert.deepEqual(await readTree(certsDir), tree);
  });
});

test('configure done twice changes nothing more, and says so', async (t) => {
  await check(t, options, async (certsDir, _tree, run) => {
    await configure({ certsDir, ...run });
    const once = await readTree(certsDir);

    const changes = await configure({ certsDir, ...run });

    assert.deepEqual(await readTree(certsDir), once);
    assert.deepEqual(
      [...new Set(changes.map(({ action }) => action))].filter((action) => action !== 'unchanged'),
      [],
    );
  });
});

test('configure with other options afterwards gives what they alone would have given', async (t) => {
  await check(t, fc.tuple(options, options), async (certsDir, tree, [before, after]) => {
    await configure({ certsDir, ...before });
    await configure({ certsDir, ...after });
    const reached = await readTree(certsDir);
    await fs.rm(path.dirname(certsDir), { recursive: true, force: true });
    await writeTree(certsDir, tree);

    await configure({ certsDir, ...after });

    const alone = await readTree(certsDir);
    // Files that were made for listed registries stay when every registry is mirrored, as those first seen do.
    const kept = after.registries === undefined ? before.registries?.map(({ name }) => name) : [];
    for (const name of kept ?? []) if (alone?.[name] === undefined) delete (reached as Record<string, unknown>)[name];
    assert.deepEqual(reached, alone);
  });
});

test('cleanup of a certs.d that was never configured changes nothing', async (t) => {
  await check(t, fc.constant(undefined), async (certsDir, tree) => {
    assert.deepEqual(await cleanup({ certsDir }), []);
    assert.deepEqual(await readTree(certsDir), tree);
  });
});

test('every hosts.toml that configure leaves asks the hosts in the right order', async (t) => {
  await check(t, options, async (certsDir, tree, run) => {
    const changes = await configure({ certsDir, ...run });

    for (const { file, registry, action } of changes) {
      if (action === 'removed' || action === 'restored') continue;
      const after = parse(await fs.readFile(file, 'utf8')) as { readonly host: object };
      const own = textOf(tree, certsDir, file);
      const before = own === undefined ? [] : Object.keys((parse(own)['host'] as object | undefined) ?? {});
      assertOrder(Object.keys(after.host), before, registry, run);
    }
  });
});

function assertOrder(
  hosts: readonly string[],
  before: readonly string[],
  registry: string,
  run: Omit<ConfigureOptions, 'certsDir'>,
) {
  const mirror = MIRROR.replace('29981', String(run.mirrorAddress.port));
  const kept = hosts.filter((host) => before.includes(host));
  assert.deepEqual(kept, before, 'the hosts that were there keep their order');
  if (run.tags === 'off') assert.equal(hosts[0], `${mirror}/v2`);
  else if (run.tags === 'mirror-first' || registry === '_default') assert.equal(hosts[0], mirror);
  else {
    assert.equal(hosts[0], `${mirror}/v2`);
    if (!registry.startsWith('localhost') && !registry.startsWith('[::1]')) assert.equal(hosts.at(-1), mirror);
  }
}

test('what people change outside of our lines survives cleanup', async (t) => {
  const additions = fc.record({
    above: fc.constantFrom('# mine\n', '# a\n\n'),
    below: fc.constantFrom('[host."https://added"]\n', '# end'),
  });
  await check(t, fc.tuple(options, additions), async (certsDir, tree, [run, { above, below }]) => {
    const changes = await configure({ certsDir, ...run });
    for (const { file } of changes) {
      const text = await fs.readFile(file, 'utf8');
      await fs.writeFile(file, `${above}${text}${text.endsWith('\n') ? '' : '\n'}${below}`);
    }

    await cleanup({ certsDir });

    for (const { file } of changes) {
      const before = textOf(tree, certsDir, file) ?? '';
      const newline = before === '' || before.endsWith('\n') ? '' : before.includes('\r\n') ? '\r\n' : '\n';
      const left = await fs.readFile(file, 'utf8');
      assert.ok([`${above}${before}${newline}${below}`, `${above}${before}\n${below}`].includes(left), left);
    }
  });
});

test('one hosts.toml that cannot be read, and nothing in certs.d is touched', async (t) => {
  const broken = fc.constantFrom(
    'x = [\n',
    'server = 5\n',
    '[host."a"]\nca = 1\n',
    'host = 3\n',
    '\xff',
    '# miroir:begin\n',
    '\uFEFFserver = "https://up.example"\n',
    'host = { "https://a" = { ca = "x" } }\n',
    '[host."http://127.0.0.1:29981"]\n[host."http://127.0.0.1:31000"]\n',
    'a = 1\na = 2\n',
  );
  await check(t, fc.tuple(options, broken), async (certsDir, _tree, [given, problem]) => {
    const run = { ...given, registries: undefined };
    const folder = path.join(certsDir, 'zz.example');
    await fs.mkdir(folder, { recursive: true });
    await fs.writeFile(path.join(folder, 'hosts.toml'), problem === '\xff' ? Buffer.from([0xff]) : problem);
    const untouched = await readTree(certsDir);

    await assert.rejects(configure({ certsDir, ...run }), (error: Error & { code: string }) => {
      assert.equal(error.code, 'ERR_HOSTS_FILE_INVALID');
      assert.match(error.message, /zz\.example\/hosts\.toml:\d+ /);
      return true;
    });

    assert.deepEqual(await readTree(certsDir), untouched);
  });
});

/** Each run writes and syncs a folder of files; this many take a few seconds in memory, and a minute on a slow disk. */
const RUNS = 50;
/** In memory where there is such a place (Linux): what is tested is which bytes are written, and a disk makes each run wait. */
const SCRATCH = existsSync('/dev/shm') ? '/dev/shm' : os.tmpdir();

async function check<T>(
  t: TestContext,
  input: fc.Arbitrary<T>,
  property: (certsDir: string, tree: Tree | undefined, input: T) => Promise<void>,
): Promise<void> {
  const scratch = await fs.mkdtemp(path.join(SCRATCH, 'miroir-certs-'));
  t.after(() => fs.rm(scratch, { recursive: true, force: true }));
  await fc.assert(
    fc.asyncProperty(certsTree, input, async (tree, value) => {
      const parent = await fs.mkdtemp(path.join(scratch, 'run-'));
      const certsDir = path.join(parent, 'etc/certs.d');
      await writeTree(certsDir, tree);
      await property(certsDir, tree, value);
      await fs.rm(parent, { recursive: true });
    }),
    { numRuns: RUNS },
  );
}

async function writeTree(folder: string, tree: Tree | undefined): Promise<void> {
  if (tree === undefined) return;
  await fs.mkdir(folder, { recursive: true });
  for (const [name, entry] of Object.entries(tree)) {
    const target = path.join(folder, name);
    if (typeof entry === 'string') await fs.writeFile(target, entry);
    else await writeTree(target, entry);
  }
}

/** Undefined when the folder is not there, nor anything above it that a test did not make. */
async function readTree(folder: string): Promise<Tree | undefined> {
  const isThere = await fs.access(folder).then(
    () => true,
    () => false,
  );
  if (!isThere) {
    await assert.rejects(fs.access(path.join(folder, '..')), { code: 'ENOENT' }, 'the folder above is gone too');
    return undefined;
  }
  const entries = await fs.readdir(folder, { withFileTypes: true });
  const read = entries.map(async (entry) => {
    const target = path.join(folder, entry.name);
    return [entry.name, entry.isDirectory() ? await readTree(target) : await fs.readFile(target, 'latin1')] as const;
  });
  return toUtf8(Object.fromEntries(await Promise.all(read)) as Tree);
}

/** Bytes that are text are compared as text, which a failure shows readably. */
function toUtf8(tree: Tree): Tree {
  const entries = Object.entries(tree).map(([name, entry]) => [
    name,
    typeof entry === 'string' ? Buffer.from(entry, 'latin1').toString('utf8') : entry,
  ]);
  return Object.fromEntries(entries) as Tree;
}

function textOf(tree: Tree | undefined, certsDir: string, file: string): string | undefined {
  const [folder, name] = path.relative(certsDir, file).split(path.sep) as [string, string];
  const entry = tree?.[folder];
  const text = typeof entry === 'object' ? entry[name] : undefined;
  return typeof text === 'string' ? text : undefined;
}
