import fs from 'node:fs';
import type http from 'node:http';
import path from 'node:path';
import { type CriClient, createCriClient, type PullAuth } from '../../containerd/api/cri.ts';
import { containerdConfig } from './containerd-config.ts';
import { fetchInside, type InsideResponse } from './fetch-inside.ts';
import { LabError } from './lab-error.ts';
import {
  entering,
  enteringNetwork,
  holdNamespaces,
  killHolder,
  type Output,
  type Program,
  type RunOptions,
  run,
  startProgram,
  until,
} from './namespace.ts';
import { blockAddresses, cardOf, limitRate, type RateLimit } from './network.ts';
import { MIROIR, startMirror } from './node-mirror.ts';
import { membersOf, type ProcessId } from './process-id.ts';
import type { Containerd } from './programs.ts';

/** A containerd answers within a second of its start, several of them on two busy cores within a few. */
const CONTAINERD_START_MS = 60_000;

export interface LabNode {
  readonly name: string;
  readonly address: string;
  readonly containerdVersion: string;
  /** The node's folders, seen from outside: `etc-containerd/certs.d`, `var-lib-containerd`, logs. */
  readonly folder: string;
  /** containerd's socket, seen from outside. */
  readonly socket: string;
  readonly cri: CriClient;
  holder(): ProcessId;
  /** Pulls as kubelet does, through CRI. Throws what containerd says. */
  pull(reference: string, options?: { readonly auth?: PullAuth }, signal?: AbortSignal): Promise<Pulled>;
  removeImage(reference: string, signal?: AbortSignal): Promise<void>;
  /** Runs a command in the node, `ctr` and Miroir's sources at hand. Throws ERR_LAB_COMMAND_FAILED when it fails. */
  exec(argv: readonly string[], options?: RunOptions, signal?: AbortSignal): Promise<Output>;
  /** Starts a program in the node that stays. Its output goes to `<name>.log` in the node's folder. */
  start(name: string, argv: readonly string[], env?: Readonly<Record<string, string>>): Program;
  /** Asks an HTTP server in the node, one that listens on its loopback too. */
  fetch(url: string, options?: http.RequestOptions): Promise<InsideResponse>;
  /** Stops containerd (SIGTERM unless told) and starts it again; resolves when it answers. */
  restartContainerd(signal?: NodeJS.Signals): Promise<void>;
  containerd(): Program;
  /** Runs `miroir configure`; containerd reads what it writes at the next pull. */
  configure(extraArgs?: readonly string[], signal?: AbortSignal): Promise<Output>;
  /** Starts the node's mirror, member of a swarm of all the lab's nodes; resolves when it is ready. Its own flags go before the lab's. */
  startMirror(
    extraArgs?: readonly string[],
    signal?: AbortSignal,
    env?: Readonly<Record<string, string>>,
  ): Promise<Program>;
  /** Does nothing when no mirror runs. */
  stopMirror(signal?: NodeJS.Signals): Promise<void>;
  mirror(): Program | undefined;
  /** Limits the node's network card; undefined lifts both limits. */
  limitRate(limit: RateLimit | undefined, signal?: AbortSignal): Promise<void>;
  /** Drops all packets to and from these, and from no others: a call replaces the one before. Undone by a power cut. */
  block(others: ReadonlyArray<{ readonly address: string }>, signal?: AbortSignal): Promise<void>;
  /** A power cut: all processes of the node end at once. `boot` starts it again on what its disk holds. */
  kill(): Promise<void>;
  boot(signal?: AbortSignal): Promise<void>;
  /** Stops every process of the node where it is, until `thaw`: connections stay open and nobody answers. */
  freeze(): void;
  thaw(): void;
}

export interface Pulled {
  readonly imageId: string;
  readonly ms: number;
}

export interface NodeOptions {
  readonly name: string;
  readonly address: string;
  readonly gateway: string;
  readonly keeper: ProcessId;
  readonly containerd: Containerd;
  readonly runFolder: string;
  readonly dataFolder: string;
  /** Lines of /etc/hosts for the lab's names. */
  readonly hosts: string;
  /** The addresses of all nodes. */
  readonly members: readonly string[];
  readonly swarmKeyFile: string;
  /** How nodes reach the lab's upstream: `upstream.lab:5000`. */
  readonly upstreamHost: string;
  /** And the registry behind it. */
  readonly registryHost: string;
  /** Changes the config.toml that the node would get. */
  readonly configToml?: (text: string) => string;
}

/** What the node sees in place of the machine's own; the names are the folders of `folder`. */
const BINDS = ['/etc/containerd', '/var/lib/cni', '/var/lib/containerd', '/var/lib/kubelet', '/var/log/containers'];

const HOLDER_SCRIPT = `
set -e
mount --make-rshared /
mount --bind "$RUN" /run
for target in ${BINDS.join(' ')}; do mount --bind "$FOLDER/$(echo "\${target#/}" | tr / -)" "$target"; done
mount --bind "$FOLDER/hosts" /etc/hosts
hostname "$NAME"
ip link set lo up
echo ready
exec >&-
while :; do sleep infinity & wait $!; done # A shell: it collects the orphans of the node, as a first process must.
`;

/** What programs in a node find: its own containerd's `ctr` first, which looks where kubelet's images are. */
export function nodeEnvironment({ binFolder }: Containerd): Readonly<Record<string, string>> {
  return { PATH: `${binFolder}:${process.env['PATH']}`, CONTAINERD_NAMESPACE: 'k8s.io' };
}

export async function createNode(options: NodeOptions, signal: AbortSignal): Promise<LabNode> {
  const { name, address, keeper, runFolder, dataFolder } = options;
  const folder = path.join(dataFolder, name);
  const link = `${name}-eth0`; // The bridge's end of the node's cable.
  const run_ = path.join(runFolder, name);
  const socket = path.join(run_, 'containerd', 'containerd.sock');
  let holder: ProcessId;
  let containerd: Program;
  let mirror: Program | undefined;
  const cri = createCriClient({ socket });
  const environment = {
    PATH: `${options.containerd.binFolder}:${process.env['PATH']}`,
    CONTAINERD_NAMESPACE: 'k8s.io',
  };

  function prepareFolders(): void {
    fs.mkdirSync(run_, { recursive: true });
    for (const target of BINDS) {
      fs.mkdirSync(target, { recursive: true }); // Something has to be there to be covered.
      fs.mkdirSync(outside(target), { recursive: true });
    }
    fs.writeFileSync(path.join(folder, 'hosts'), `127.0.0.1 localhost ${name}\n${options.hosts}`);
    const config = containerdConfig(options.containerd.version);
    fs.writeFileSync(path.join(outside('/etc/containerd'), 'config.toml'), options.configToml?.(config) ?? config);
    for (const registry of [options.upstreamHost, options.registryHost]) {
      const hostsFolder = path.join(outside('/etc/containerd'), 'certs.d', registry);
      fs.mkdirSync(hostsFolder, { recursive: true });
      // containerd 1.6 ignores a file without a host.
      const host = `[host."http://${registry}"]\n  capabilities = ["pull", "resolve"]\n`;
      fs.writeFileSync(path.join(hostsFolder, 'hosts.toml'), `server = "http://${registry}"\n\n${host}`);
    }
  }

  function outside(target: string): string {
    return path.join(folder, target.slice(1).replaceAll('/', '-'));
  }

  async function boot(bootSignal: AbortSignal): Promise<void> {
    for (const entry of fs.readdirSync(run_)) fs.rmSync(path.join(run_, entry), { recursive: true }); // It is in memory.
    const unshare = ['unshare', '--net', '--mount', '--uts', '--pid', '--fork', '--mount-proc'];
    const variables = ['env', `NAME=${name}`, `RUN=${run_}`, `FOLDER=${folder}`];
    const argv = entering(keeper, [...unshare, ...variables, 'bash', '-c', HOLDER_SCRIPT]);
    const held = await holdNamespaces(
      { argv, logFile: path.join(folder, 'holder.log'), depth: 2, stdin: 'ignore' },
      bootSignal,
    );
    holder = held.holder;
    const pid = String(holder.pid);
    const peer = ['peer', 'name', 'eth0', 'address', cardOf(address), 'netns', pid];
    await run(enteringNetwork(keeper, ['ip', 'link', 'add', link, 'type', 'veth', ...peer]), {}, bootSignal);
    await run(enteringNetwork(keeper, ['ip', 'link', 'set', link, 'master', 'br0', 'up']), {}, bootSignal);
    const setUp = `ip address add ${address}/24 dev eth0 && ip link set eth0 up && ip route add default via ${options.gateway}`;
    await run(enteringNetwork(holder, ['sh', '-c', setUp]), {}, bootSignal);
    await startContainerd(bootSignal);
  }

  async function startContainerd(startSignal: AbortSignal): Promise<void> {
    fs.rmSync(socket, { force: true }); // One that was killed leaves it.
    containerd = start('containerd', ['containerd', '--config', '/etc/containerd/config.toml']);
    const deadline = AbortSignal.any([startSignal, AbortSignal.timeout(CONTAINERD_START_MS)]);
    const complain = () => `containerd of ${name} does not answer: ${containerd.logTail()}`;
    const isUp = async () => {
      if (!containerd.isRunning()) throw new LabError('ERR_LAB_PROGRAM_ENDED', complain());
      return fs.existsSync(socket) && (await cri.runtimeVersion(deadline).then(Boolean, () => false));
    };
    await until(isUp, deadline, complain);
  }

  function start(program: string, argv: readonly string[], env: Readonly<Record<string, string>> = {}): Program {
    const logFile = path.join(folder, `${program}.log`);
    return startProgram(holder, { argv, env: { ...environment, ...env }, logFile });
  }

  function exec(argv: readonly string[], runOptions: RunOptions = {}, execSignal = never): Promise<Output> {
    const title = `${argv.join(' ')} in ${name}`;
    return run(
      entering(holder, argv),
      { title, ...runOptions, env: { ...environment, ...runOptions.env } },
      execSignal,
    );
  }

  const never = new AbortController().signal;
  const signalAll = (kind: NodeJS.Signals) => {
    for (const pid of membersOf(holder)) {
      try {
        process.kill(pid, kind);
      } catch {
        // It ended while we walked.
      }
    }
  };

  prepareFolders();
  await boot(signal);
  return {
    name,
    address,
    containerdVersion: options.containerd.version,
    folder,
    socket,
    cri,
    holder: () => holder,
    containerd: () => containerd,
    start,
    boot: (bootSignal = never) => boot(bootSignal),
    pull: async (reference, { auth } = {}, pullSignal = never) => {
      const startedAt = performance.now();
      const imageId = await cri.pullImage({ image: reference, ...(auth && { auth }) }, pullSignal);
      return { imageId, ms: performance.now() - startedAt };
    },
    removeImage: (reference, removeSignal = never) => cri.removeImage(reference, removeSignal),
    exec,
    configure: (extraArgs = [], configureSignal = never) => {
      const registries = ['--registries', `${options.upstreamHost}=http://${options.upstreamHost}`];
      return exec([...MIROIR, 'configure', ...registries, ...extraArgs], {}, configureSignal);
    },
    startMirror: async (extraArgs = [], mirrorSignal = never, env = {}) => {
      const { members, swarmKeyFile } = options;
      const flags = { advertiseAddress: address, members, swarmKeyFile, extraArgs };
      const deps = {
        start: (program: string, argv: readonly string[]) => start(program, argv, env),
        fetch: (url: string) => fetchInside(holder, url, {}),
      };
      mirror = await startMirror(deps, flags, mirrorSignal);
      return mirror;
    },
    stopMirror: async (kind) => {
      await mirror?.stop(kind);
      mirror = undefined;
    },
    mirror: () => mirror,
    limitRate: async (limit, limitSignal = never) => {
      await limitRate(holder, 'eth0', limit?.send, limitSignal);
      await limitRate(keeper, link, limit?.receive, limitSignal);
    },
    block: (others, blockSignal = never) =>
      blockAddresses(
        holder,
        others.map((other) => other.address),
        blockSignal,
      ),
    fetch: (url, requestOptions = {}) => fetchInside(holder, url, requestOptions),
    restartContainerd: async (kind = 'SIGTERM') => {
      await containerd.stop(kind);
      await startContainerd(never);
    },
    kill: async () => {
      await killHolder(holder);
      // The kernel takes a while to remove a network, and the cable with it, after the last of its processes.
      await run(enteringNetwork(keeper, ['ip', 'link', 'delete', link]), {}, never).catch(() => {});
    },
    freeze: () => signalAll('SIGSTOP'),
    thaw: () => signalAll('SIGCONT'),
  };
}
