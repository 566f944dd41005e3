import fs from 'node:fs';
import path from 'node:path';
import { createLab, type Lab, type LabOptions } from '../lab.ts';
import { type Program, until } from '../namespace.ts';
import { findBuilt } from '../programs.ts';
import { startChildProgram } from './child-program.ts';
import { type ControlPlane, createControlPlane } from './control-plane.ts';
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
  /** Removes every trace. */
  down(): Promise<void>;
}

const PAUSE = 'lab/pause:v1';
const PAUSE_IMAGE = `upstream.lab:5001/${PAUSE}`;

/** Rejects with nothing left behind. Resolves when all nodes are ready, a quarter of a minute later. */
export async function createCluster(options: ClusterOptions, signal: AbortSignal): Promise<Cluster> {
  const nodes = options.nodes.map((containerd) => ({
    containerd,
    configToml: (text: string) => withPods(text, PAUSE_IMAGE),
  }));
  const lab = await createLab({ nodes, ...(options.upstream && { upstream: options.upstream }) }, signal);
  const cgroups = lab.nodes.map(({ name }) => `/${lab.name}-${name}`);
  const programs: Program[] = [];
  let plane: ControlPlane | undefined;

  async function down(): Promise<void> {
    await Promise.all(programs.map((program) => program.stop('SIGKILL')));
    await lab.down();
    await plane?.down();
    for (const cgroup of cgroups) removeCgroup(cgroup);
  }

  try {
    await lab.upstream.push(PAUSE, { seed: 'pause', layers: [], runs: ['sleep', '2147483647'] }, signal);
    for (const node of lab.nodes) writePodNetwork(node);
    await routePods(lab, signal);
    const cluster = { address: lab.address, nodes: lab.nodes.map(({ name }) => name) };
    plane = await createControlPlane({ scheduler: true, controllerManager: true, cluster }, signal);
    programs.push(startDns(lab, plane));
    for (const [index, node] of lab.nodes.entries()) {
      const kubeconfig = plane.kubeconfigOf(node.name);
      const proxyKubeconfig = plane.kubeconfigOf('kubeProxy');
      programs.push(
        ...startKubelet(node, { cgroup: cgroups[index] as string, kubeconfig, proxyKubeconfig, dns: lab.address }),
      );
    }
    await untilReady(plane, lab, signal);
    return { lab, plane, down };
  } catch (error) {
    await down();
    throw error;
  }
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

async function untilReady({ call }: ControlPlane, lab: Lab, signal: AbortSignal): Promise<void> {
  const complain = () =>
    lab.nodes.map(({ name, folder }) => `${name}: ${tail(path.join(folder, 'kubelet.log'))}`).join('\n');
  const areReady = async () => {
    const { body } = await call('GET', '/api/v1/nodes');
    const ready = ((body.items ?? []) as Node[]).filter(
      ({ status, spec }) =>
        (spec.taints ?? []).length === 0 &&
        status.conditions?.some(({ type, status: is }) => type === 'Ready' && is === 'True'),
    );
    return ready.length === lab.nodes.length;
  };
  await until(areReady, signal, complain);
}

interface Node {
  readonly spec: { readonly taints?: readonly object[] };
  readonly status: { readonly conditions?: readonly { readonly type: string; readonly status: string }[] };
}

function tail(file: string): string {
  return fs.existsSync(file) ? fs.readFileSync(file, 'utf8').slice(-1500) : '(nothing written)';
}
