import fs from 'node:fs';
import path from 'node:path';
import { createLab, type Lab, type LabOptions, type NodeWish } from '../lab.ts';
import { type Program, until } from '../namespace.ts';
import type { LabNode } from '../node.ts';
import { findBuilt } from '../programs.ts';
import { startChildProgram } from './child-program.ts';
import { type ControlPlane, createControlPlane } from './control-plane.ts';
import type { KubeCall } from './kube-call.ts';
import { removeCgroup, startKubelet } from './kubelet.ts';
import { routePods, withPods, writePodNetwork } from './pod-network.ts';

export interface ClusterOptions {
  /** The beginning of a containerd's version for each node. */
  readonly nodes: readonly string[];
  readonly upstream?: LabOptions['upstream'];
}

/** A lab whose nodes are those of a Kubernetes cluster: kubelets, kube-proxies, DNS, pods that run. */
export interface Cluster {
  readonly lab: Lab;
  readonly plane: ControlPlane;
  /** Starts a node again after its power cut, `node.kill()`, with all that a node of the cluster runs. Resolves when it is ready. */
  boot(node: LabNode, signal: AbortSignal): Promise<void>;
  /** Adds a node under a new name and address. Resolves when it is ready. */
  join(containerd: string, signal: AbortSignal): Promise<LabNode>;
  /** Takes a node away for good, as a cloud does: its power, its disk, then its Node. */
  remove(node: LabNode): Promise<void>;
  /** Removes every trace. */
  down(): Promise<void>;
}

const PAUSE = 'lab/pause:v1';
const PAUSE_IMAGE = `upstream.lab:5001/${PAUSE}`;
/** An apiserver reads who may come in when it starts, so it is told of nodes that may join later. */
const JOINING_MAX = 4;

/** Rejects with nothing left behind. Resolves when all nodes are ready, a quarter of a minute later. */
export async function createCluster(options: ClusterOptions, signal: AbortSignal): Promise<Cluster> {
  const lab = await createLab(
    { nodes: options.nodes.map(wishOf), ...(options.upstream && { upstream: options.upstream }) },
    signal,
  );
  const cgroups = new Set<string>();
  const programs: Program[] = [];
  let plane: ControlPlane | undefined;

  async function down(): Promise<void> {
    await Promise.all(programs.map((program) => program.stop('SIGKILL')));
    await lab.down();
    await plane?.down();
    for (const cgroup of cgroups) removeCgroup(cgroup);
  }

  async function startNode(node: LabNode, created: ControlPlane): Promise<void> {
    const cgroup = `/${lab.name}-${node.name}`;
    cgroups.add(cgroup);
    removeCgroup(cgroup); // No machine starts with those that it had.
    await routePods(node, lab, signal);
    const kubeconfigs = {
      kubeconfig: created.kubeconfigOf(node.name),
      proxyKubeconfig: created.kubeconfigOf('kubeProxy'),
    };
    programs.push(...startKubelet(node, { cgroup, ...kubeconfigs, dns: lab.address }));
  }

  try {
    await lab.upstream.push(PAUSE, { seed: 'pause', layers: [], runs: ['sleep', '2147483647'] }, signal);
    const users = Array.from({ length: options.nodes.length + JOINING_MAX }, (_, index) => `n${index + 1}`);
    const cluster = { address: lab.address, nodes: users };
    const created = await createControlPlane({ scheduler: true, controllerManager: true, cluster }, signal);
    plane = created;
    programs.push(startDns(lab, created));
    for (const node of lab.nodes) {
      writePodNetwork(node);
      await startNode(node, created);
    }
    await Promise.all(lab.nodes.map((node) => untilReady(node, created.call, undefined, signal)));
    return {
      lab,
      plane: created,
      boot: async (node, bootSignal) => {
        const before = await heartbeatOf(node, created.call); // The last of a kubelet that is no more.
        await node.boot(bootSignal);
        await startNode(node, created);
        await untilReady(node, created.call, before, bootSignal);
      },
      join: async (containerd, joinSignal) => {
        const node = await lab.addNode(wishOf(containerd), joinSignal);
        writePodNetwork(node);
        await startNode(node, created);
        await untilReady(node, created.call, undefined, joinSignal);
        return node;
      },
      remove: async (node) => {
        await lab.removeNode(node);
        await created.call('DELETE', `/api/v1/nodes/${node.name}`);
      },
      down,
    };
  } catch (error) {
    await down();
    throw error;
  }
}

function wishOf(containerd: string): NodeWish {
  return { containerd, configToml: (text) => withPods(text, PAUSE_IMAGE) };
}

/** On this machine's address in the lab. */
function startDns(lab: Lab, plane: ControlPlane): Program {
  const corefile = path.join(plane.folder, 'Corefile');
  fs.writeFileSync(
    corefile,
    `. {\n  bind ${lab.address}\n  kubernetes cluster.local {\n    kubeconfig ${plane.kubeconfigOf('dns')} lab\n  }\n}\n`,
  );
  const program = path.join(findBuilt('coredns'), 'coredns');
  return startChildProgram([program, '-conf', corefile], path.join(plane.folder, 'coredns.log'));
}

/** A Node whose kubelet was killed goes on being ready for a while: what it says counts when it is not what it said `before`. */
async function untilReady(
  { name, folder }: LabNode,
  call: KubeCall,
  before: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const complain = () => `${name} is not ready: ${tail(path.join(folder, 'kubelet.log'))}`;
  const isReady = async () => {
    const { spec, status } = await readNode(name, call);
    const ready = status?.conditions?.find(({ type }) => type === 'Ready');
    // Whoever cordoned it takes that back.
    const taints = (spec?.taints ?? []).filter(({ key }) => key !== 'node.kubernetes.io/unschedulable');
    return ready?.status === 'True' && ready.lastHeartbeatTime !== before && taints.length === 0;
  };
  await until(isReady, signal, complain);
}

async function heartbeatOf({ name }: LabNode, call: KubeCall): Promise<string | undefined> {
  const { status } = await readNode(name, call);
  return status?.conditions?.find(({ type }) => type === 'Ready')?.lastHeartbeatTime;
}

async function readNode(name: string, call: KubeCall): Promise<Node> {
  return (await call<Node>('GET', `/api/v1/nodes/${name}`)).body;
}

/** Without either when the API has no such Node yet. */
interface Node {
  readonly spec?: { readonly taints?: readonly { readonly key: string }[] };
  readonly status?: { readonly conditions?: readonly Condition[] };
}

interface Condition {
  readonly type: string;
  readonly status: string;
  readonly lastHeartbeatTime: string;
}

function tail(file: string): string {
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8').slice(-1500) : '(nothing written)';
}
