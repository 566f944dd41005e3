import fs from 'node:fs';
import path from 'node:path';
import type { Program } from '../namespace.ts';
import type { LabNode } from '../node.ts';
import { findBuilt } from '../programs.ts';

const CGROUP_ROOT = '/sys/fs/cgroup';
/** Taken from the folder above when a group is made; without them it may run nowhere. */
const CPUSET_FILES = ['cpuset.cpus', 'cpuset.mems'];

export interface KubeletOptions {
  /** Of its own in all of this machine. */
  readonly cgroup: string;
  readonly kubeconfig: string;
  readonly proxyKubeconfig: string;
  readonly dns: string;
}

/** Starts the kubelet of a node, and its kube-proxy. Their logs are in the node's folder. */
export function startKubelet(node: LabNode, options: KubeletOptions): readonly Program[] {
  const folder = findBuilt('kubernetes');
  makeCgroup(options.cgroup);
  const file = (name: string) => path.join(node.folder, name);
  fs.mkdirSync(file('var-lib-kubelet/static-pods'), { recursive: true });
  fs.writeFileSync(file('kubelet.json'), JSON.stringify(kubeletConfig(options)));
  fs.writeFileSync(file('kube-proxy.json'), JSON.stringify(proxyConfig(node, options)));
  const flags = [
    `--config=${file('kubelet.json')}`,
    `--kubeconfig=${options.kubeconfig}`,
    `--hostname-override=${node.name}`,
    `--node-ip=${node.address}`,
    '--root-dir=/var/lib/kubelet',
    '--cert-dir=/var/lib/kubelet/pki',
  ];
  return [
    node.start('kubelet', [path.join(folder, 'kubelet'), ...flags]),
    node.start('kube-proxy', [path.join(folder, 'kube-proxy'), `--config=${file('kube-proxy.json')}`]),
  ];
}

/** https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/ */
function kubeletConfig({ cgroup, dns }: KubeletOptions): object {
  return {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    // Who reaches it is in the lab.
    authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
    authorization: { mode: 'AlwaysAllow' },
    cgroupDriver: 'cgroupfs',
    cgroupRoot: cgroup,
    failCgroupV1: false,
    clusterDNS: [dns],
    clusterDomain: 'cluster.local',
    containerRuntimeEndpoint: 'unix:///run/containerd/containerd.sock',
    evictionHard: { 'memory.available': '10Mi' },
    failSwapOn: false,
    imageGCHighThresholdPercent: 100,
    localStorageCapacityIsolation: false,
    makeIPTablesUtilChains: false,
    maxPods: 250,
    nodeStatusUpdateFrequency: '2s',
    oomScoreAdj: 0, // Less needs CAP_SYS_RESOURCE.
    podLogsDir: '/var/lib/kubelet/pod-logs',
    resolvConf: '',
    serializeImagePulls: false,
    staticPodPath: '/var/lib/kubelet/static-pods',
    syncFrequency: '5s',
  };
}

/** https://kubernetes.io/docs/reference/config-api/kube-proxy-config.v1alpha1/ */
function proxyConfig({ name }: LabNode, { proxyKubeconfig }: KubeletOptions): object {
  return {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    clientConnection: { kubeconfig: proxyKubeconfig },
    // Belongs to the machine, not to the node's namespace.
    conntrack: { maxPerCore: 0, min: 0, tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0s' },
    hostnameOverride: name,
    mode: 'nftables',
    oomScoreAdj: 0,
  };
}

/** Each has a tree of its own in cgroup v1; in v2 there is one for all. */
function controllers(): readonly string[] {
  if (fs.existsSync(path.join(CGROUP_ROOT, 'cgroup.controllers'))) return [CGROUP_ROOT];
  return fs
    .readdirSync(CGROUP_ROOT, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => path.join(CGROUP_ROOT, name));
}

function makeCgroup(cgroup: string): void {
  for (const controller of controllers()) {
    const folder = path.join(controller, cgroup);
    fs.mkdirSync(folder, { recursive: true });
    for (const name of CPUSET_FILES) {
      const above = path.join(controller, name);
      if (controller !== CGROUP_ROOT && fs.existsSync(above))
        fs.writeFileSync(path.join(folder, name), fs.readFileSync(above));
    }
  }
}

/** Removes a group whose processes have ended, and those below it. */
export function removeCgroup(cgroup: string): void {
  for (const controller of controllers()) {
    const folder = path.join(controller, cgroup);
    if (!fs.existsSync(folder)) continue;
    const below = fs.readdirSync(folder, { recursive: true, withFileTypes: true });
    const folders = below
      .filter((entry) => entry.isDirectory())
      .map(({ parentPath, name }) => path.join(parentPath, name));
    for (const deepest of [folder, ...folders].toSorted((a, b) => b.length - a.length)) fs.rmdirSync(deepest);
  }
}
