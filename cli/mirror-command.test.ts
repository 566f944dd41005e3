/** What a mirror says that cannot start, as far as no containerd is needed for it. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { runProgram } from './program.ts';

const KEY = `${'5a'.repeat(32)}\n`;

function temporaryFolder(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-start-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  return folder;
}

function fileIn(folder: string, text: string): string {
  const file = path.join(folder, 'file');
  fs.writeFileSync(file, text);
  return file;
}

function withSocket(folder: string, socket: string): string[] {
  return ['--swarm-key-file', fileIn(folder, KEY), '--containerd-socket', socket];
}

/** A socket on which somebody else answers. */
async function strangeSocket(t: TestContext, folder: string): Promise<string> {
  const socket = path.join(folder, 'strange.sock');
  const server = net.createServer((connection) => connection.end('HTTP/1.1 400 Bad Request\r\n\r\n'));
  t.after(() => server.close());
  await new Promise<void>((resolve) => {
    server.listen(socket, resolve);
  });
  return socket;
}

for (const { title, args, told } of [
  {
    title: 'a swarm key file that is not there',
    args: (folder: string) => ['--swarm-key-file', `${folder}/none`],
    told: /^swarm key file \S+\/none: it is not there \(make one with: openssl rand -hex 32 > \S+\/none\); or name another file with --swarm-key-file$/,
  },
  {
    title: 'a swarm key file that is a folder',
    args: (folder: string) => ['--swarm-key-file', folder],
    told: /^swarm key file \S+: EISDIR: .*; or name another file with --swarm-key-file$/,
  },
  {
    title: 'a swarm key file with something else in it',
    args: (folder: string) => ['--swarm-key-file', fileIn(folder, '# ours\nnot a key\n')],
    told: /^swarm key file \S+\/file: line 2 is not a key: .*openssl rand -hex 32\); or name another file with --swarm-key-file$/,
  },
  {
    title: 'an empty swarm key file',
    args: (folder: string) => ['--swarm-key-file', fileIn(folder, '')],
    told: /^swarm key file \S+\/file: there is no key .*; or name another file with --swarm-key-file$/,
  },
  {
    title: 'a socket that is not there',
    args: (folder: string) => withSocket(folder, `${folder}/none.sock`),
    told: /^containerd does not answer at \S+\/none\.sock \(.*ENOENT.*\); start containerd, or name its socket with --containerd-socket$/,
  },
  {
    title: 'a socket that is a file',
    args: (folder: string) => withSocket(folder, fileIn(folder, KEY)),
    told: /^containerd does not answer at \S+\/file \(.*ECONNREFUSED.*\); start containerd, or name its socket with --containerd-socket$/,
  },
  {
    title: "a socket that is not containerd's",
    args: async (folder: string, t: TestContext) => withSocket(folder, await strangeSocket(t, folder)),
    told: /^containerd does not answer at \S+\/strange\.sock .*; start containerd, or name its socket with --containerd-socket$/,
  },
]) {
  test(`${title} is a mistake: one line with the setting and the fix, exit 2`, async (t) => {
    let stderr = '';
    const deps = {
      env: {},
      readFile: (file: string) => fs.promises.readFile(file, 'utf8'),
      stdout: () => {},
      stderr: (text: string) => {
        stderr += text;
      },
      columns: undefined,
    };

    const exitCode = await runProgram(deps, ['mirror', ...(await args(temporaryFolder(t), t))], t.signal);

    assert.equal(exitCode, 2);
    assert.ok(stderr.startsWith('miroir mirror: ') && stderr.indexOf('\n') === stderr.length - 1, stderr);
    assert.match(stderr.slice('miroir mirror: '.length).trimEnd(), told);
  });
}

test('pods are not served by half of what is needed for it: the other settings are named', async (t) => {
  let stderr = '';
  const deps = {
    env: {},
    readFile: (file: string) => fs.promises.readFile(file, 'utf8'),
    stdout: () => {},
    stderr: (text: string) => {
      stderr += text;
    },
    columns: undefined,
  };
  const args = ['--swarm-key-file', fileIn(temporaryFolder(t), KEY), '--pod-address=127.0.0.1:29986'];

  const exitCode = await runProgram(deps, ['mirror', ...args], t.signal);

  assert.equal(exitCode, 2);
  assert.match(stderr, /pod-token-keys-file \(not set\)/);
  assert.match(stderr, /node-name \(not set\)/);
});

test('a proxy that is none is a mistake, named by its variable and not shown', async (t) => {
  let stderr = '';
  const deps = {
    env: { HTTPS_PROXY: 'socks5://me:secret@proxy.example' },
    readFile: (file: string) => fs.promises.readFile(file, 'utf8'),
    stdout: () => {},
    stderr: (text: string) => {
      stderr += text;
    },
    columns: undefined,
  };

  const exitCode = await runProgram(deps, ['mirror', '--swarm-key-file', fileIn(temporaryFolder(t), KEY)], t.signal);

  assert.equal(exitCode, 2);
  assert.match(stderr, /HTTPS_PROXY/);
  assert.ok(!stderr.includes('secret'));
});
