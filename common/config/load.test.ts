import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '../errors.ts';
import { loadConfig } from './load.ts';
import type { CommandName } from './setting.ts';

interface Given {
  readonly flags?: Readonly<Record<string, readonly string[]>>;
  readonly env?: Readonly<Record<string, string>>;
  readonly file?: string;
  readonly unknownArguments?: readonly string[];
}

const KEY_FILE = { 'swarm-key-file': ['/etc/miroir/swarm.key'] };

function load<C extends CommandName>(command: C, { flags = {}, env = {}, file, unknownArguments = [] }: Given) {
  return loadConfig(command, {
    flags: new Map(Object.entries({ ...flags, ...(file !== undefined && { config: ['/etc/miroir.yaml'] }) })),
    env,
    unknownArguments,
    readFile: async () => file ?? '',
  });
}

/** The lines of the mistakes, without the line that counts them. */
async function mistakes(command: CommandName, given: Given): Promise<string[]> {
  const error: unknown = await load(command, given).then(
    () => assert.fail('no mistake was found'),
    (reason: unknown) => reason,
  );
  assert.ok(hasCode(error, 'ERR_CONFIG_INVALID'));
  return error.message
    .split('\n')
    .slice(1)
    .map((line) => line.trim());
}

test('a mirror with a key file alone gets every default', async () => {
  assert.deepEqual(await load('mirror', { flags: KEY_FILE }), {
    containerdSocket: '/run/containerd/containerd.sock',
    containerdNamespace: 'k8s.io',
    certsDir: '/etc/containerd/certs.d',
    configPath: undefined,
    registryAddress: { host: '127.0.0.1', port: 29981 },
    peerAddress: { host: '0.0.0.0', port: 29982 },
    swarmAddress: { host: '0.0.0.0', port: 29983 },
    healthAddress: { host: '0.0.0.0', port: 29984 },
    advertiseAddress: undefined,
    members: undefined,
    membersDns: undefined,
    membersFile: undefined,
    swarmKeyFile: '/etc/miroir/swarm.key',
    peerEncryption: true,
    uploadsPerBlob: 4,
    uploadsMax: 64,
    uploadRate: undefined,
    registries: undefined,
    privateImages: 'prove',
    router: 'one-hop',
    zone: undefined,
    podAddress: undefined,
    podTokenKeysFile: undefined,
    nodeName: undefined,
    logLevel: 'info',
  });
});

test('a configuration is frozen', async () => {
  assert.ok(Object.isFrozen(await load('cleanup', {})));
});

for (const { title, given, expected } of [
  {
    title: 'a flag goes before a variable',
    given: { flags: { tags: ['off'] }, env: { MIROIR_TAGS: 'fresh' } },
    expected: 'off',
  },
  {
    title: 'a flag hides what a variable says wrong',
    given: { flags: { tags: ['off'] }, env: { MIROIR_TAGS: 'stale' } },
    expected: 'off',
  },
  {
    title: 'a variable goes before the file',
    given: { env: { MIROIR_TAGS: 'off' }, file: 'tags: mirror-first\n' },
    expected: 'off',
  },
  { title: 'the file goes before the default', given: { file: 'tags: off\n' }, expected: 'off' },
  { title: 'an empty variable counts as unset', given: { env: { MIROIR_TAGS: ' ' } }, expected: 'fresh' },
  { title: 'an empty file says nothing', given: { file: '# nothing yet\n' }, expected: 'fresh' },
  { title: "a file may hold other commands' settings", given: { file: 'zone: a\n' }, expected: 'fresh' },
]) {
  test(title, async () => {
    assert.equal((await load('configure', given)).tags, expected);
  });
}

test('MIROIR_CONFIG names the file when no flag does', async () => {
  const paths: string[] = [];
  const config = await loadConfig('configure', {
    flags: new Map(),
    env: { MIROIR_CONFIG: '/etc/miroir.yaml' },
    unknownArguments: [],
    readFile: async (path) => {
      paths.push(path);
      return 'tags: off';
    },
  });
  assert.equal(config.tags, 'off');
  assert.deepEqual(paths, ['/etc/miroir.yaml']);
});

test('a list may come as several flags, as a YAML sequence, or with commas', async () => {
  const expected = [{ name: 'docker.io' }, { name: 'r.example:5000', upstream: 'http://10.0.0.1:5000/sub' }];
  const items = ['docker.io', 'r.example:5000=http://10.0.0.1:5000/sub/'];
  const forms: Given[] = [
    { flags: { registries: items } },
    { env: { MIROIR_REGISTRIES: ` ${items.join(' , ')} ` } },
    { file: `registries:\n  - ${items.join('\n  - ')}\n` },
    { file: `registries: ${items.join(',')}\n` },
  ];
  for (const given of forms) assert.deepEqual((await load('configure', given)).registries, expected);
});

test('every mistake is told at once, with its name, where it came from and the fix', async () => {
  const found = await mistakes('mirror', {
    flags: { 'registry-address': ['127.0.0.1'], zone: ['a', 'b'] },
    env: { MIROIR_ROUTER: 'chord', MIROIR_PEER_ADDRESS: '0.0.0.0:0' },
    file: 'peer-encryption: maybe\n\nmember: n1\nlog-level: [debug, [info]]\n',
    unknownArguments: ['--swarm-keyfile', '--tags=off', 'now'],
  });
  assert.deepEqual(found, [
    '--swarm-keyfile (command line): there is no such flag; did you mean --swarm-key-file?',
    '--tags (command line): it is a setting of configure, not of mirror; take it out',
    '"now" (command line): mirror takes flags only; take it out, or put it behind its flag',
    '"member" (/etc/miroir.yaml:3): there is no such setting; did you mean members?',
    'log-level (/etc/miroir.yaml:4): its value is neither a text nor a sequence of texts; write it in quotes, or as a sequence of texts',
    'registry-address (--registry-address): "127.0.0.1" is not an IPv4 loopback address and a port; write it as 127.0.0.1:29981: whoever reaches it is served, so it is for this node alone',
    'peer-address (MIROIR_PEER_ADDRESS): "0.0.0.0:0" is not an address and a port; write it as 10.0.0.7:29982, [fd00::7]:29982 or node-1:29982, with a port of 1 to 65535',
    'peer-encryption (/etc/miroir.yaml:1): "maybe" is neither on nor off; use on or off',
    'router (MIROIR_ROUTER): "chord" is not one of its values; use one of one-hop, kad',
    'zone (--zone): it has 2 values; give it one',
  ]);
});

test('a mirror without a swarm key is told how to make one', async () => {
  const [line] = await mistakes('mirror', {});
  assert.match(line ?? '', /^swarm-key-file \(not set\): it must be set; .*openssl rand -hex 32 > swarm\.key/);
});

test('a broken file does not make what it may hold missing', async () => {
  const found = await mistakes('mirror', { file: 'swarm-key-file: "/etc/key\n' });
  assert.ok(found.length > 0);
  assert.ok(
    found.every((line) => line.startsWith('config (/etc/miroir.yaml:')),
    found.join('\n'),
  );
});

test('only one way to name members may be used, whatever it came from', async () => {
  const found = await mistakes('mirror', {
    flags: { ...KEY_FILE, members: ['n1'] },
    env: { MIROIR_MEMBERS_DNS: 'miroir.example' },
  });
  assert.deepEqual(found, [
    'members (--members): it is set together with members-dns; keep one of them',
    'members-dns (MIROIR_MEMBERS_DNS): it is set together with members; keep one of them',
  ]);
});

for (const { title, given, pattern } of [
  { title: 'an empty flag', given: { flags: { tags: [''] } }, pattern: /^tags \(--tags\): it is empty;/ },
  {
    title: 'an empty key of the file',
    given: { file: 'tags:\n' },
    pattern: /^tags \(\/etc\/miroir.yaml:1\): it is empty;/,
  },
  { title: 'an empty sequence', given: { file: 'registries: []\n' }, pattern: /^registries .*: it is empty;/ },
  {
    title: 'an over-long value',
    given: { file: `tags: ${'x'.repeat(200_000)}\n` },
    pattern: /^tags .*: it is 200000 characters long;/,
  },
  {
    title: 'an over-long file',
    given: { file: '#'.repeat(1_100_000) },
    pattern: /^config \(--config\): .* is larger than/,
  },
  {
    title: 'a key that is set twice',
    given: { file: 'tags: off\ntags: fresh\n' },
    pattern: /^tags \(\/etc\/miroir.yaml:2\): it is set before, at \/etc\/miroir.yaml:1;/,
  },
  { title: 'a file that is a list', given: { file: '- tags\n' }, pattern: /^config .*not a mapping/ },
  {
    title: 'two documents in a file',
    given: { file: 'tags: off\n---\ntags: off\n' },
    pattern: /^config .*not the YAML that is read here/,
  },
  { title: 'an alias', given: { file: 'tags: &a off\nzone: *a\n' }, pattern: /^zone .*neither a text nor/ },
  {
    title: 'a tag of YAML',
    given: { file: 'tags: !!binary b2Zm\n' },
    pattern: /^tags .*neither a text nor/,
  },
  { title: 'a key that is no text', given: { file: '? [a]\n: b\n' }, pattern: /there is no such setting/ },
  { title: 'nesting without end', given: { file: '['.repeat(20_000) }, pattern: /^config/ },
]) {
  test(`${title} is a mistake`, async () => {
    const found = await mistakes('configure', given);
    assert.equal(found.length, 1, found.join('\n').slice(0, 2000));
    assert.match(found[0] ?? '', pattern);
  });
}

test('a file that cannot be read is one mistake beside the others', async () => {
  const error: unknown = await loadConfig('configure', {
    flags: new Map([
      ['config', ['/nowhere.yaml']],
      ['tags', ['stale']],
    ]),
    env: {},
    unknownArguments: [],
    readFile: () => Promise.reject(Object.assign(new Error('no'), { code: 'ENOENT' })),
  }).catch((reason: unknown) => reason);
  assert.ok(hasCode(error, 'ERR_CONFIG_INVALID'));
  assert.match(error.message, /config \(--config\): "\/nowhere\.yaml" cannot be read \(there is no such file\)/);
  assert.match(error.message, /tags \(--tags\)/);
});

test('secrets in the wrong place are not shown', async () => {
  const key = 'c0ffee'.repeat(11).slice(0, 64);
  const found = await mistakes('mirror', {
    flags: { 'swarm-key-file': [key], registries: ['r.example=https://user:hunter2@h.example', `x y${key}`] },
    env: { MIROIR_ZONE: `${key} ` },
    file: `advertise-address: "${key}-"\n"${key}": 1\n`,
    unknownArguments: [`--${key}`, key],
  });
  assert.equal(found.length, 8);
  assert.doesNotMatch(found.join('\n'), /c0ffee|hunter2/);
});
