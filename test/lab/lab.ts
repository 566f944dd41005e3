import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import type net from 'node:net';
import path from 'node:path';
import { callKeeper, type KeeperConfig } from './control.ts';
import { LabError } from './lab-error.ts';
import { type HeldNamespaces, holdNamespaces, run, tailOfFile, until } from './namespace.ts';
import { createNode, type LabNode, type NodeOptions } from './node.ts';
import { isAlive, type ProcessId } from './process-id.ts';
import { findContainerd } from './programs.ts';
import { requireAll } from './requirements.ts';
import {
  claimLab,
  controlSocket,
  type LabState,
  linkLabel,
  linkName,
  type NodeState,
  removeDeadLabs,
  removeFolder,
  removeLab,
  saveState,
} from './state.ts';
import type { Behaviour } from './upstream/proxy.ts';
import {
  createUpstream,
  REGISTRY_HOST,
  REGISTRY_PORT,
  UPSTREAM_HOST,
  UPSTREAM_NAME,
  UPSTREAM_PORT,
  type Upstream,
} from './upstream.ts';

export interface NodeWish {
  /** The beginning of a version: `1.6.20`, `2.4`. */
  readonly containerd: string;
  readonly configToml?: (text: string) => string;
}

export interface LabOptions {
  /** Unique on the machine; one is made up when absent. */
  readonly name?: string;
  readonly nodes: readonly NodeWish[];
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
  /** Those that are there now. */
  readonly nodes: readonly LabNode[];
  readonly upstream: Upstream;
  /** A file with the swarm key of the lab's mirrors. */
  readonly swarmKeyFile: string;
  /** Adds a node under the next name and address, which no other one ever had; /etc/hosts of the others does not know it. */
  addNode(wish: NodeWish, signal: AbortSignal): Promise<LabNode>;
  /** Takes a node away for good, its disk too. */
  removeNode(node: LabNode): Promise<void>;
  /** Closes what this process holds of a lab that is not attached, so that it can end and leave the lab running. */
  release(): void;
  /** Ends everything and removes every trace. Safe to call twice. */
  down(): Promise<void>;
}

/** Subnets 10.210.<slot>.0/24. */
const SLOTS = 250;
/** Of the addresses of a subnet. */
const FIRST_NODE = 11;
/** What the addresses of a subnet suffice for; memory ends earlier. */
const NODES_MAX = 200;

/**
 * Starts a lab; needs root. What dead labs left is removed first. Rejects with nothing left behind, with
 * ERR_LAB_REQUIREMENT_MISSING for one.
 */
export async function createLab(options: LabOptions, signal: AbortSignal): Promise<Lab> {
  if (options.nodes.length > NODES_MAX)
    throw new LabError('ERR_LAB_WISH_INVALID', `a lab has ${NODES_MAX} nodes at most`);
  requireAll();
  for (const { containerd } of options.nodes) findContainerd(containerd);
  removeDeadLabs();
  const attached = options.attached ?? true;
  let state = claimLab(options.name ?? `lab-${process.pid}-${counter++}`, attached);
  const save = (change: Partial<LabState>) => {
    state = { ...state, ...change };
    saveState(state);
  };
  try {
    const keeper = await startKeeper(state, signal);
    save({ keeper: keeper.holder });
    const slot = await linkToRoot(state, keeper.holder, signal);
    save({ slot });
    await configureKeeper(state, slot, keeper, signal);
    fs.writeFileSync(swarmKeyFile(state), `${randomBytes(32).toString('hex')}\n`, { mode: 0o600 });
    const addresses = options.nodes.map((_wish, index) => nodeAddress(slot, index));
    const create = (wish: NodeWish, index: number, nodeSignal: AbortSignal) =>
      createNode(placeNode(state, { keeper: keeper.holder, slot, addresses, wish, index }), nodeSignal);
    const nodes = await Promise.all(options.nodes.map((wish, index) => create(wish, index, signal)));
    let created = nodes.length;
    const saveNodes = () => save({ nodes: nodes.map(stateOf) });
    saveNodes();
    const upstream = await createUpstream(upstreamAddress(slot), controlSocket(state), options.upstream ?? {});
    const release = () => {
      for (const node of nodes) node.cri.close();
    };
    return {
      name: state.name,
      folder: state.dataFolder,
      address: rootAddress(slot),
      nodes,
      upstream,
      swarmKeyFile: swarmKeyFile(state),
      addNode: async (wish, addSignal) => {
        if (created >= NODES_MAX) throw new LabError('ERR_LAB_WISH_INVALID', `a lab has ${NODES_MAX} nodes at most`);
        const node = await create(wish, created++, addSignal);
        nodes.push(node);
        saveNodes();
        return node;
      },
      removeNode: async (node) => {
        nodes.splice(nodes.indexOf(node), 1);
        saveNodes();
        node.cri.close();
        await node.kill();
        for (const folder of [node.folder, path.join(state.runFolder, node.name)]) removeFolder(folder);
      },
      release,
      down: async () => {
        release();
        await endLab(state);
      },
    };
  } catch (error) {
    await endLab(state);
    throw error;
  }
}

async function configureKeeper(
  state: LabState,
  slot: number,
  keeper: HeldNamespaces,
  signal: AbortSignal,
): Promise<void> {
  const config: KeeperConfig = {
    attached: state.attached,
    address: upstreamAddress(slot),
    upstreamPort: UPSTREAM_PORT,
    registryPort: REGISTRY_PORT,
    controlSocket: controlSocket(state),
    runFolder: state.runFolder,
    dataFolder: state.dataFolder,
  };
  const stdin = keeper.child.stdin as net.Socket;
  stdin.write(`${JSON.stringify(config)}\n`);
  stdin.unref(); // It is closed by our end, and must not put it off.
  await until(() => {
    if (isAlive(keeper.holder)) return fs.existsSync(controlSocket(state));
    throw new LabError('ERR_LAB_PROGRAM_ENDED', `the lab's keeper ended: ${tailOfFile(keeperLog(state))}`);
  }, signal);
}

function placeNode(
  state: LabState,
  place: {
    readonly keeper: ProcessId;
    readonly slot: number;
    /** Of all nodes that the lab began with. */
    readonly addresses: readonly string[];
    readonly wish: NodeWish;
    readonly index: number;
  },
): NodeOptions {
  const { slot, addresses, wish, index } = place;
  const address = nodeAddress(slot, index);
  const members = [...new Set([...addresses, address])];
  const names = [[upstreamAddress(slot), UPSTREAM_NAME], ...members.map((member) => [member, nodeName(member)])];
  return {
    name: nodeName(address),
    address,
    gateway: upstreamAddress(slot),
    keeper: place.keeper,
    containerd: findContainerd(wish.containerd),
    ...(wish.configToml && { configToml: wish.configToml }),
    runFolder: state.runFolder,
    dataFolder: state.dataFolder,
    hosts: names.map((line) => `${line.join(' ')}\n`).join(''),
    members,
    swarmKeyFile: swarmKeyFile(state),
    upstreamHost: UPSTREAM_HOST,
    registryHost: REGISTRY_HOST,
  };
}

function stateOf(node: LabNode): NodeState {
  const { name, address, containerdVersion, socket } = node;
  return { name, address, containerd: containerdVersion, socket, holder: node.holder() };
}

/** In a lab's subnet .1 is the upstream's address, .254 this machine's, and nodes begin at .11. */
function upstreamAddress(slot: number): string {
  return `10.210.${slot}.1`;
}

function rootAddress(slot: number): string {
  return `10.210.${slot}.254`;
}

function nodeAddress(slot: number, index: number): string {
  return `10.210.${slot}.${FIRST_NODE + index}`;
}

function nodeName(address: string): string {
  return `n${Number(address.split('.').at(-1)) - FIRST_NODE + 1}`;
}

function swarmKeyFile({ dataFolder }: LabState): string {
  return path.join(dataFolder, 'swarm.key');
}

let counter = 0;

/** Takes a lab down, whoever made it. Resolves when nothing is left of it. */
export async function endLab(state: LabState): Promise<void> {
  const { keeper } = state;
  if (keeper && isAlive(keeper)) {
    const asked = await callKeeper(controlSocket(state), { do: 'down' }).then(
      () => true,
      () => false, // It was not up yet, or hangs: removeLab kills it.
    );
    const late = AbortSignal.timeout(SHUTDOWN_MS);
    if (asked) await until(() => !isAlive(keeper), late).catch(() => {});
  }
  removeLab(state);
  if (keeper) await until(() => !isAlive(keeper));
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
    await run(['ip', 'address', 'add', `${rootAddress(slot)}/24`, 'dev', link], {}, signal);
    await run(['ip', 'link', 'set', link, 'up', 'alias', linkLabel(state)], {}, signal);
    return slot;
  }
  throw new LabError('ERR_LAB_NAME_TAKEN', `all ${SLOTS} subnets of labs are taken; see: npm run lab -- status`);
}
