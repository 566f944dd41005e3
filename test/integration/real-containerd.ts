import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createContainerdClient } from '../../containerd/api/client.ts';

export const CONTAINERD_VERSIONS = ['1.6.20', '2.4.2'] as const;
export type ContainerdVersion = (typeof CONTAINERD_VERSIONS)[number];

/** A containerd of its own for a test, on folders of its own. It pulls through CRI, and runs nothing. */
export interface RealContainerd {
  readonly version: ContainerdVersion;
  readonly socket: string;
  /** What its config_path names. */
  readonly certsDir: string;
  readonly contentRoot: string;
  readonly configPath: string;
  /** Runs containerd's own client. */
  ctr(...args: readonly string[]): Promise<void>;
  start(): Promise<void>;
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

export interface ContainerdOptions {
  /** Changes the configuration that it would get; everything of it is in `folder`. */
  readonly configToml?: (text: string, folder: string) => string;
  /** Files of the folder `conf.d`, for the configuration to import. */
  readonly dropIns?: Readonly<Record<string, string>>;
}

const START_DEADLINE_MS = 20_000;
const START_POLL_MS = 20;

/** Starts a containerd that stops, and whose folders go, with the test. */
export async function startContainerd(
  t: TestContext,
  version: ContainerdVersion,
  { configToml = (text) => text, dropIns = {} }: ContainerdOptions = {},
): Promise<RealContainerd> {
  const folder = await fs.promises.mkdtemp(path.join(os.tmpdir(), 'miroir-containerd-'));
  const socket = path.join(folder, 'containerd.sock');
  const certsDir = path.join(folder, 'certs.d');
  const configPath = path.join(folder, 'config.toml');
  await fs.promises.mkdir(certsDir);
  await fs.promises.writeFile(configPath, configToml(configText(version, folder), folder));
  await fs.promises.mkdir(path.join(folder, 'conf.d'));
  for (const [name, text] of Object.entries(dropIns)) {
    await fs.promises.writeFile(path.join(folder, 'conf.d', name), text);
  }
  let running: ChildProcess | undefined;

  const containerd: RealContainerd = {
    version,
    socket,
    certsDir,
    configPath,
    contentRoot: path.join(folder, 'root/io.containerd.content.v1.content'),

    async ctr(...args) {
      await promisify(execFile)(program(version, 'ctr'), ['-a', socket, ...args]);
    },

    async start() {
      const log = fs.openSync(path.join(folder, 'log'), 'a');
      running = spawn(program(version, 'containerd'), ['-c', configPath], { stdio: ['ignore', log, log] });
      fs.closeSync(log);
      await untilAnswers(socket);
    },

    async stop(signal = 'SIGTERM') {
      const child = running;
      running = undefined;
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, 'exit');
      child.kill(signal);
      await exited;
    },
  };
  t.after(async () => {
    await containerd.stop('SIGKILL');
    await fs.promises.rm(folder, { recursive: true, force: true });
  });
  await containerd.start();
  return containerd;
}

async function untilAnswers(socket: string): Promise<void> {
  const client = createContainerdClient({ socket, namespace: 'k8s.io' });
  const deadline = AbortSignal.timeout(START_DEADLINE_MS);
  try {
    for (;;) {
      try {
        await client.serverVersion(deadline);
        return;
      } catch (error) {
        if (deadline.aborted) throw error;
        await delay(START_POLL_MS);
      }
    }
  } finally {
    client.close();
  }
}

/** The path of containerd itself, for what it tells without running. */
export function containerdProgram(version: ContainerdVersion): string {
  return program(version, 'containerd');
}

function program(version: ContainerdVersion, name: 'containerd' | 'ctr'): string {
  const built = path.join(import.meta.dirname, '../../.lab/bin', `containerd-${version}`, name);
  const found = version === '1.6.20' ? `/usr/bin/${name}` : built;
  if (fs.existsSync(found)) return found;
  const how = version === '1.6.20' ? 'apt-get install containerd' : 'npm run lab -- build';
  throw new Error(`${found} is missing: get it by ${how}`);
}

function configText(version: ContainerdVersion, folder: string): string {
  const isOld = version === '1.6.20';
  const images = isOld ? 'io.containerd.grpc.v1.cri".containerd' : 'io.containerd.cri.v1.images"';
  const registry = isOld ? 'io.containerd.grpc.v1.cri".registry' : 'io.containerd.cri.v1.images".registry';
  const platform = `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`;
  const unpack = `
[[plugins."io.containerd.transfer.v1.local".unpack_config]]
platform = "${platform}"
snapshotter = "native"
`;
  return `version = ${isOld ? 2 : 3}
root = "${folder}/root"
state = "${folder}/state"
[grpc]
address = "${folder}/containerd.sock"
[ttrpc]
address = "${folder}/containerd.sock.ttrpc"
[plugins."${images}]
snapshotter = "native"
[plugins."${registry}]
config_path = "${folder}/certs.d"
[plugins."io.containerd.internal.v1.opt"]
path = "${folder}/opt"
${isOld ? '' : unpack}`;
}
