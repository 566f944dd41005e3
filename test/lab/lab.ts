import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { callKeeper, type KeeperConfig } from './control.ts';
import { LabError } from './lab-error.ts';
import { holdNamespaces, run, until } from './namespace.ts';
import { createNode, type LabNode } from './node.ts';
import { isAlive, type ProcessId } from './process-id.ts';
import { findContainerd } from './programs.ts';
import { claimLab, type LabState, linkLabel, linkName, removeDeadLabs, removeLab, saveState } from './state.ts';
import type { Behaviour } from './upstream/proxy.ts';
import {
  createUpstream,
  REGISTRY_PORT,
  UPSTREAM_HOST,
  UPSTREAM_NAME,
  UPSTREAM_PORT,
  type Upstream,
} from './upstream.ts';

export interface LabOptions {
  /** Unique on the machine; one is made up when absent. */
  readonly name?: string;
  readonly nodes: ReadonlyArray<{
    /** The beginning of a version: `1.6.20`, `2.4`. */
    readonly containerd: string;
    readonly configToml?: (text: string) => string;
  }>;
  /** How the upstream behaves from the start; it can be changed at any time. */
  readonly upstream?: Behaviour;
  /** The lab ends, and is removed, when this process ends, however it ends. On unless told. */
  readonly attached?: boolean;
}

export interface Lab {
  readonly name: string;
  readonly folder: string;
  /** This machine's address in the lab: servers that listen on it are reached by the nodes. */
  readonly address: string;
  readonly nodes: readonly LabNode[];
  readonly upstream: Upstream;
  /** A file with the swarm key of the lab's mirrors. */
  readonly swarmKeyFile: string;
  /** Ends everything and removes every trace. Safe to call twice. */
  down(): Promise<void>;
}

/** Addresses in a lab's subnet: .1 is the upstream's, .254 this machine's, nodes begin at .11. */
const SLOTS = 250;
const FIRST_NODE = 11;
const NODES_MAX = 200;

/** Starts a lab; needs root. What dead labs left is removed first. Rejects with nothing left behind. */
export async function createLab(options: LabOptions, signal: AbortSignal): Promise<Lab> {
  if (options.nodes.length > NODES_MAX) throw new RangeError(`a lab has ${NODES_MAX} nodes at most`);
  removeDeadLabs();
  const attached = options.attached ?? true;
  let state = claimLab(options.name ?? `lab-${process.pid}-${counter++}`, attached);
  const save = (change: Partial<LabState>) => {
    state = { ...state, ...change };
    saveState(state);
  };
  const controlSocket = path.join(state.runFolder, 'control.sock');

  const down = async () => {
    if (state.keeper && isAlive(state.keeper)) await callKeeper(controlSocket, { do: 'down' }).catch(() => {});
    await endLab(state);
  };
  try {
    const keeper = await startKeeper(state, signal);
    save({ keeper: keeper.holder });
    const slot = await linkToRoot(state, keeper.holder, signal);
    save({ slot });
    const subnet = `10.210.${slot}`;
    const config: KeeperConfig = {
      attached,
      address: `${subnet}.1`,
      upstreamPort: UPSTREAM_PORT,
      registryPort: REGISTRY_PORT,
      controlSocket,
      runFolder: state.runFolder,
      dataFolder: state.dataFolder,
    };
    keeper.child.stdin?.write(`${JSON.stringify(config)}\n`);
    await until(() => {
      if (isAlive(keeper.holder)) return fs.existsSync(controlSocket);
      throw new LabError('ERR_LAB_PROGRAM_ENDED', `the lab's keeper ended; see ${keeperLog(state)}`);
    }, signal);

    const names = options.nodes.map((_, index) => ({
      name: `n${index + 1}`,
      address: `${subnet}.${FIRST_NODE + index}`,
    }));
    const hosts = [`${subnet}.1 ${UPSTREAM_NAME}`, ...names.map(({ name, address }) => `${address} ${name}`)].join(
      '\n',
    );
    const members = names.map(({ address }) => address);
    const swarmKeyFile = path.join(state.dataFolder, 'swarm.key');
    fs.writeFileSync(swarmKeyFile, `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
    const nodes = await Promise.all(
      names.map(({ name, address }, index) => {
        const wish = options.nodes[index] as LabOptions['nodes'][number];
        const containerd = findContainerd(wish.containerd);
        const { runFolder, dataFolder } = state;
        const place = {
          name,
          address,
          gateway: `${subnet}.1`,
          keeper: keeper.holder,
          runFolder,
          dataFolder,
          members,
          swarmKeyFile,
        };
        const configToml = wish.configToml && { configToml: wish.configToml };
        return createNode(
          { ...place, containerd, hosts: `${hosts}\n`, upstreamHost: UPSTREAM_HOST, ...configToml },
          signal,
        );
      }),
    );
    save({
      nodes: nodes.map((node) => {
        const { name, address, containerdVersion, socket } = node;
        return { name, address, containerd: containerdVersion, socket, holder: node.holder() };
      }),
    });
    const upstream = await createUpstream(`${subnet}.1`, controlSocket, options.upstream ?? {});
    return {
      name: state.name,
      folder: state.dataFolder,
      address: `${subnet}.254`,
      nodes,
      upstream,
      swarmKeyFile,
      down,
    };
  } catch (error) {
    await down();
    throw error;
  }
}

let counter = 0;

/** Takes down a lab that another process made. */
export async function endLab(state: LabState): Promise<void> {
  const { keeper } = state;
  if (keeper && isAlive(keeper)) {
    const late = AbortSignal.timeout(SHUTDOWN_MS);
    await until(() => !isAlive(keeper), late).catch(() => {}); // removeLab kills what did not end by itself.
  }
  removeLab(state);
}

/** The keeper kills the lab's processes and deletes its stores, which may be gigabytes. */
const SHUTDOWN_MS = 60_000;

function startKeeper(state: LabState, signal: AbortSignal) {
  const program = path.join(import.meta.dirname, 'keeper.ts');
  const unshare = ['unshare', '--net', '--mount', '--uts', '--pid', '--fork', '--kill-child', '--mount-proc'];
  const argv = [...unshare, process.execPath, program];
  return holdNamespaces({ argv, logFile: keeperLog(state), depth: 1, stdin: 'pipe' }, signal);
}

function keeperLog({ dataFolder }: LabState): string {
  return path.join(dataFolder, 'keeper.log');
}

/**
 * Gives this machine an address in the lab, by a pair of links of which one end is in the keeper's namespace: the kernel
 * removes both with it. The link's name stands for the subnet, so the kernel also sees to it that no two labs share one.
 */
async function linkToRoot(state: LabState, keeper: ProcessId, signal: AbortSignal): Promise<number> {
  const first = createHash('sha256').update(state.name).digest().readUInt16BE() % SLOTS;
  for (let tried = 0; tried < SLOTS; tried++) {
    const slot = (first + tried) % SLOTS;
    const link = linkName(slot);
    const peer = ['peer', 'name', 'root', 'netns', String(keeper.pid)];
    try {
      await run(['ip', 'link', 'add', link, 'type', 'veth', ...peer], {}, signal);
    } catch (error) {
      if (fs.existsSync(`/sys/class/net/${link}`)) continue;
      throw error;
    }
    await run(['ip', 'address', 'add', `10.210.${slot}.254/24`, 'dev', link], {}, signal);
    await run(['ip', 'link', 'set', link, 'up', 'alias', linkLabel(state)], {}, signal);
    return slot;
  }
  throw new LabError('ERR_LAB_NAME_TAKEN', `all ${SLOTS} subnets of labs are taken; see: npm run lab -- status`);
}
