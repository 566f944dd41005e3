/** What a mirror says that cannot start on a real containerd: one line that names the setting and the fix, and exit 2. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import fs from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import test, { type TestContext } from 'node:test';
import { CONTAINERD_VERSIONS, type RealContainerd, startContainerd } from './real-containerd.ts';

const MAIN = path.join(import.meta.dirname, '../../cli/main.ts');
/** Starting takes a second; what hangs is killed. */
const DEADLINE_MS = 30_000;
const ADDRESS_FLAGS = ['--registry-address', '--peer-address', '--swarm-address', '--health-address'] as const;

/** Runs the command to its end, with the flags that are given in place of those that would do. */
async function runMirror(t: TestContext, { socket }: RealContainerd, given: Readonly<Record<string, string>>) {
  const swarmKeyFile = path.join(path.dirname(socket), 'swarm.key');
  fs.writeFileSync(swarmKeyFile, `${'5a'.repeat(32)}\n`);
  const host = `127.${randomInt(1, 255)}.${randomInt(255)}.${randomInt(1, 255)}`; // Nobody else listens there.
  const addresses = Object.fromEntries(ADDRESS_FLAGS.map((flag, index) => [flag, `${host}:${29_981 + index}`]));
  const flags = { '--containerd-socket': socket, '--swarm-key-file': swarmKeyFile, ...addresses, ...given };
  const child: ChildProcess = spawn(process.execPath, [MAIN, 'mirror', ...Object.entries(flags).flat()], {
    env: {},
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]),
    killSignal: 'SIGKILL',
  });
  const stderr = text(child.stderr as NodeJS.ReadableStream);
  child.stdout?.resume();
  const [exitCode] = (await once(child, 'close')) as [number];
  return { exitCode, stderr: await stderr };
}

function assertOneLine({ exitCode, stderr }: { exitCode: number; stderr: string }, told: RegExp): void {
  assert.match(stderr, told);
  assert.equal(stderr.indexOf('\n'), stderr.length - 1, stderr);
  assert.equal(exitCode, 2);
}

for (const version of CONTAINERD_VERSIONS) {
  test(`containerd ${version} is there, and a mirror's port is taken`, async (t) => {
    const containerd = await startContainerd(t, version);
    const server = net.createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    t.after(() => server.close());
    const taken = `127.0.0.1:${(server.address() as AddressInfo).port}`;

    for (const flag of ADDRESS_FLAGS) {
      await t.test(flag, async (t) => {
        const told = new RegExp(
          `^miroir mirror: cannot listen on ${taken}( for the swarm)?: another program has this port; ` +
            `see what listens there with ss -ltnp, or choose another address with ${flag}\\n$`,
        );

        assertOneLine(await runMirror(t, containerd, { [flag]: taken }), told);
      });
    }
  });

  test(`the content of containerd ${version} cannot be read: as in a container without that mount`, async (t) => {
    const containerd = await startContainerd(t, version);
    fs.rmSync(containerd.contentRoot, { recursive: true });

    const told =
      /^miroir mirror: containerd keeps its content in \S+, which cannot be read from here \(.*\): mount that folder/;
    assertOneLine(await runMirror(t, containerd, {}), told);
  });

  test(`containerd ${version} is not there: neither is a mirror that starts beside it`, async (t) => {
    const containerd = await startContainerd(t, version);
    await containerd.stop();

    const told =
      /^miroir mirror: containerd does not answer at \S+ \(.*\); start containerd, or name its socket with --containerd-socket\n$/;
    assertOneLine(await runMirror(t, containerd, {}), told);
  });
}
