import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import type { Registry } from '../common/oci/reference.ts';
import { cleanup } from './cleanup.ts';
import { type ConfigureOptions, configure, configureRegistry } from './configure.ts';

const DOCKER = { name: 'docker.io' as Registry };
const FRESH: Omit<ConfigureOptions, 'certsDir'> = {
  registries: undefined,
  mirrorAddress: { host: '127.0.0.1', port: 29981 },
  tags: 'fresh',
};

async function makeCertsDir(t: TestContext, files: Readonly<Record<string, string>> = {}) {
  const certsDir = await fs.mkdtemp(path.join(os.tmpdir(), 'miroir-configure-'));
  t.after(() => fs.rm(certsDir, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    await fs.mkdir(path.dirname(path.join(certsDir, name)), { recursive: true });
    await fs.writeFile(path.join(certsDir, name), text);
  }
  return { certsDir, read: (name: string) => fs.readFile(path.join(certsDir, name), 'utf8') };
}

test('a listed registry gets a file that names the mirror, the registry, and the mirror again', async (t) => {
  const { certsDir, read } = await makeCertsDir(t);

  const changes = await configure({ ...FRESH, certsDir, registries: [DOCKER] });

  assert.deepEqual(changes, [
    { registry: 'docker.io', file: path.join(certsDir, 'docker.io/hosts.toml'), action: 'created' },
  ]);
  assert.equal(
    await read('docker.io/hosts.toml'),
    `# miroir:begin tags=fresh mirror=127.0.0.1:29981 file=made folders=1
# Kept by \`miroir configure\`, taken out by \`miroir cleanup\`; changes between these marks are lost.
[host."http://127.0.0.1:29981/v2"]
capabilities = ["pull"]
override_path = true
dial_timeout = "200ms"
[host."https://registry-1.docker.io"]
capabilities = ["pull", "resolve"]
[host."http://127.0.0.1:29981"]
capabilities = ["pull", "resolve"]
dial_timeout = "200ms"
# miroir:end
`,
  );
});

test('what a file sets for its server, the registry as a host of its own keeps', async (t) => {
  const { certsDir, read } = await makeCertsDir(t, {
    'registry.example/hosts.toml': `server = "https://quay.corp/v2/proxy"\noverride_path = true\nca = "corp.pem"\n[header]\nX-A = ["1"]\n`,
  });

  await configure({ ...FRESH, certsDir });

  assert.ok(
    (await read('registry.example/hosts.toml')).includes(`[host."https://quay.corp/v2/proxy"]
capabilities = ["pull", "resolve"]
ca = "corp.pem"
header = { "X-A" = ["1"] }
override_path = true
`),
  );
});

test('a registry that is listed as a host already is not listed twice', async (t) => {
  const { certsDir, read } = await makeCertsDir(t, {
    'docker.io/hosts.toml': `[host."https://registry-1.docker.io/v2/"]\nskip_verify = true\n`,
  });

  await configure({ ...FRESH, certsDir });

  const hosts = (await read('docker.io/hosts.toml')).match(/\[host\..*\]/g);
  assert.deepEqual(hosts, [
    '[host."http://127.0.0.1:29981/v2"]',
    '[host."https://registry-1.docker.io/v2/"]',
    '[host."http://127.0.0.1:29981"]',
  ]);
});

test('a registry first seen keeps what _default gave it, by paths from its own folder', async (t) => {
  const { certsDir, read } = await makeCertsDir(t, {
    '_default/hosts.toml': `server = "https://all.corp"\nca = ["corp.pem", "/etc/ssl/b.pem"]\n[host."https://cache.corp"]\nclient = [["c.cert", "c.key"]]\n`,
  });
  await configure({ ...FRESH, certsDir });

  const change = await configureRegistry({ certsDir, registry: DOCKER });

  assert.equal(change?.action, 'created');
  assert.equal(
    (await read('docker.io/hosts.toml')).split('\n').slice(2).join('\n'),
    `server = "https://all.corp"
ca = ["../_default/corp.pem", "/etc/ssl/b.pem"]
[host."http://127.0.0.1:29981/v2"]
capabilities = ["pull"]
override_path = true
dial_timeout = "200ms"
[host."https://cache.corp"]
client = [["../_default/c.cert", "../_default/c.key"]]
[host."https://all.corp"]
capabilities = ["pull", "resolve"]
ca = ["../_default/corp.pem", "/etc/ssl/b.pem"]
[host."http://127.0.0.1:29981"]
capabilities = ["pull", "resolve"]
dial_timeout = "200ms"
# miroir:end
`,
  );
});

for (const [title, files, options] of [
  [
    'when _default is not ours',
    { '_default/hosts.toml': '' },
    { registries: [{ name: 'registry.example' as Registry }] },
  ],
  ['when tags are the mirror’s business alone', {}, { tags: 'mirror-first' }],
  ['when it has a folder', { 'docker.io/ca.crt': '' }, {}],
] as const) {
  test(`a registry first seen gets no file ${title}`, async (t) => {
    const { certsDir } = await makeCertsDir(t, files);
    await configure({ ...FRESH, ...options, certsDir });

    assert.equal(await configureRegistry({ certsDir, registry: DOCKER }), undefined);
  });
}

test('there is an end to the files of registries first seen', async (t) => {
  const { certsDir } = await makeCertsDir(t);
  await configure({ ...FRESH, certsDir });
  for (let index = 2; index < 256; index += 1) await fs.mkdir(path.join(certsDir, `r${index}.example`));

  const [last, tooMany] = ['last.example' as Registry, 'too.many' as Registry];
  assert.equal((await configureRegistry({ certsDir, registry: { name: last } }))?.action, 'created');
  assert.equal(await configureRegistry({ certsDir, registry: { name: tooMany } }), undefined);
});

test('a folder with a port in its name is found in both spellings', async (t) => {
  const { certsDir } = await makeCertsDir(t, { 'a.example_5000_/hosts.toml': '', 'b.example:5000/hosts.toml': '' });
  const names = ['a.example:5000', 'b.example:5000', 'c.example:5000'];

  const changes = await configure({
    ...FRESH,
    certsDir,
    registries: names.map((name) => ({ name: name as Registry })),
  });

  assert.deepEqual(
    changes.map(({ file, action }) => [path.relative(certsDir, file), action]),
    [
      ['a.example_5000_/hosts.toml', 'merged'],
      ['b.example:5000/hosts.toml', 'merged'],
      ['c.example:5000/hosts.toml', 'created'],
    ],
  );
});

test('links stay links, and a file that several registries share names none of them', async (t) => {
  const { certsDir, read } = await makeCertsDir(t, { 'shared/all.toml': '# shared\n', '_default/x': '' });
  await fs.mkdir(path.join(certsDir, 'registry.example'));
  await fs.symlink('../shared/all.toml', path.join(certsDir, 'registry.example/hosts.toml'));
  await fs.symlink('registry.example', path.join(certsDir, 'other.example'));
  await fs.symlink('_default', path.join(certsDir, 'docker.io'));

  await configure({ ...FRESH, certsDir });
  assert.ok((await fs.lstat(path.join(certsDir, 'registry.example/hosts.toml'))).isSymbolicLink());
  assert.doesNotMatch(await read('shared/all.toml'), /registry\.example|other\.example/);
  assert.doesNotMatch(await read('_default/hosts.toml'), /docker/);

  await cleanup({ certsDir });
  assert.equal(await read('shared/all.toml'), '# shared\n');
  assert.deepEqual(await fs.readdir(path.join(certsDir, '_default')), ['x']);
});

test('a link to nowhere is refused', async (t) => {
  const { certsDir } = await makeCertsDir(t, { 'registry.example/x': '' });
  await fs.symlink('gone.toml', path.join(certsDir, 'registry.example/hosts.toml'));

  await assert.rejects(configure({ ...FRESH, certsDir }), { code: 'ERR_HOSTS_FILE_INVALID' });
});

test('a file keeps its mode and its owner', async (t) => {
  const { certsDir } = await makeCertsDir(t, { 'registry.example/hosts.toml': '# mine\n' });
  const file = path.join(certsDir, 'registry.example/hosts.toml');
  await fs.chmod(file, 0o640);
  const isRoot = process.getuid?.() === 0;
  if (isRoot) await fs.chown(file, 12_345, 23_456);
  const before = await fs.stat(file);

  await configure({ ...FRESH, certsDir });
  const configured = await fs.stat(file);
  await cleanup({ certsDir });

  for (const { mode, uid, gid } of [configured, await fs.stat(file)]) {
    assert.deepEqual({ mode, uid, gid }, { mode: before.mode, uid: before.uid, gid: before.gid });
  }
});

test('what a crash left behind goes with cleanup', async (t) => {
  const { certsDir, read } = await makeCertsDir(t, {
    'registry.example/hosts.toml': '# mine\n',
    'registry.example/.hosts.toml.miroir-0123456789ab': 'half',
  });

  await cleanup({ certsDir });

  assert.deepEqual(await fs.readdir(path.join(certsDir, 'registry.example')), ['hosts.toml']);
  assert.equal(await read('registry.example/hosts.toml'), '# mine\n');
});

test('cleanup takes us out of a file that is no TOML any more', async (t) => {
  const { certsDir, read } = await makeCertsDir(t, { 'registry.example/hosts.toml': 'server = "https://a"\n' });
  await configure({ ...FRESH, certsDir });
  await fs.appendFile(path.join(certsDir, 'registry.example/hosts.toml'), 'broken = [\n');

  await cleanup({ certsDir });

  assert.equal(await read('registry.example/hosts.toml'), 'server = "https://a"\nbroken = [\n');
});

test('a certs.d that cannot be used is named', async (t) => {
  const { certsDir } = await makeCertsDir(t, { file: '' });

  await assert.rejects(
    configure({ ...FRESH, certsDir: path.join(certsDir, 'file/certs.d') }),
    (error: Error & { code: string }) => {
      assert.equal(error.code, 'ERR_CERTS_DIR_INACCESSIBLE');
      assert.match(error.message, /file\/certs\.d cannot be read and written .*ENOTDIR/);
      return true;
    },
  );
});

for (const { text, problem } of [
  { text: 'a = 1\nserver = [', problem: /registry\.example\/hosts\.toml:2 cannot be read/ },
  { text: 'a = 1\nca = 5\n', problem: /hosts\.toml:2 sets ca to something else than a path/ },
  { text: '\nhost = { "https://a" = {} }\n', problem: /hosts\.toml:2 says `host` in a way/ },
  {
    text: '#\n#\n[host."http://127.0.0.1:29981"]\n',
    problem: /hosts\.toml:3 lists http:\/\/127\.0\.0\.1:29981 outside/,
  },
  { text: '#\n# miroir:begin\n', problem: /hosts\.toml:2 begins with/ },
  { text: '\uFEFF# text\n', problem: /hosts\.toml:1 begins with a byte order mark/ },
]) {
  test(`${JSON.stringify(text)} is refused by file and line`, async (t) => {
    const { certsDir } = await makeCertsDir(t, { 'registry.example/hosts.toml': text });

    await assert.rejects(configure({ ...FRESH, certsDir }), (error: Error & { code: string }) => {
      assert.equal(error.code, 'ERR_HOSTS_FILE_INVALID');
      assert.match(error.message, problem);
      return true;
    });
    assert.deepEqual(await fs.readdir(certsDir), ['registry.example']);
  });
}
