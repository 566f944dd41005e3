import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Registry } from '../common/oci/reference.ts';
import { configure } from './configure.ts';
import { findUpstream } from './find-upstream.ts';

const HUB = 'hub.example' as Registry;

function makeCertsDir(t: TestContext, files: Readonly<Record<string, string>> = {}): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-upstream-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
    fs.writeFileSync(path.join(folder, name), text);
  }
  return folder;
}

for (const [name, url] of [
  ['docker.io', 'https://registry-1.docker.io/v2'],
  ['hub.example:5000', 'https://hub.example:5000/v2'],
  ['localhost:5000', 'http://localhost:5000/v2'],
] as const) {
  test(`${name} is at ${url} when nothing else is said`, async (t) => {
    const upstream = await findUpstream({ certsDir: makeCertsDir(t), registries: [] }, name as Registry);

    assert.deepEqual(upstream, { url, ca: [], client: [], isVerified: true });
  });
}

for (const { title, files, expected } of [
  {
    title: 'server and ca of its own file',
    files: {
      'hub.example/hosts.toml': 'server = "http://10.0.0.1:5000"\nca = "ca.pem"\n',
      'hub.example/ca.pem': 'PEM',
    },
    expected: { url: 'http://10.0.0.1:5000/v2', ca: ['PEM'], client: [], isVerified: true },
  },
  {
    title: "its host's settings, and a path that is whole",
    files: {
      'hub.example/hosts.toml':
        'server = "https://hub.example/api"\n[host."https://hub.example"]\nskip_verify = true\noverride_path = true\nca = ["/none"]\n',
    },
    expected: { url: 'https://hub.example/api', ca: [], client: [], isVerified: false },
  },
  {
    title: "docker's certificate files",
    files: {
      'hub.example/one.crt': 'ONE',
      'hub.example/two.crt': 'TWO',
      'hub.example/me.cert': 'CERT',
      'hub.example/me.key': 'KEY',
    },
    expected: {
      url: 'https://hub.example/v2',
      ca: ['ONE', 'TWO'],
      client: [{ cert: 'CERT', key: 'KEY' }],
      isVerified: true,
    },
  },
  {
    title: 'client certificates, and of pairs only whole ones',
    files: {
      'hub.example/hosts.toml': 'client = [["me.pem", "me.key"], ["me.pem", "/none"]]\n',
      'hub.example/me.pem': 'CERT',
      'hub.example/me.key': 'KEY',
    },
    expected: {
      url: 'https://hub.example/v2',
      ca: [],
      client: [{ cert: 'CERT', key: 'KEY' }],
      isVerified: true,
    },
  },
]) {
  test(`finds ${title}, with a mirror merged in or not`, async (t) => {
    const certsDir = makeCertsDir(t, files);
    const before = await findUpstream({ certsDir, registries: [] }, HUB);
    const mirrorAddress = { host: '127.0.0.1', port: 29_981 };
    await configure({ certsDir, registries: [{ name: HUB }], mirrorAddress, tags: 'fresh' });

    const after = await findUpstream({ certsDir, registries: [] }, HUB);

    assert.deepEqual(before, expected);
    assert.deepEqual(after, expected);
  });
}

test('what was listed goes before what is in a file', async (t) => {
  const certsDir = makeCertsDir(t, { 'hub.example/hosts.toml': 'server = "http://10.0.0.1:5000"\n' });
  const registries = [{ name: HUB, upstream: 'http://10.0.0.2:5000' }];

  assert.equal((await findUpstream({ certsDir, registries }, HUB))?.url, 'http://10.0.0.2:5000/v2');
});
