import fs from 'node:fs';
import path from 'node:path';
import type { Lab } from '../lab.ts';
import { enteringNetwork, run } from '../namespace.ts';
import type { LabNode } from '../node.ts';
import { isAlive } from '../process-id.ts';

/** In the node; containerd's own folder is the node's own. */
const CNI_FOLDER = '/etc/containerd/cni';
const CNI_PROGRAMS = '/usr/lib/cni';

/** 100.64.0.0/10 in pieces of 256 addresses, 64 for each lab: the subnets of labs are 10.210.<slot>.0/24. */
function podSubnet(node: LabNode): string {
  const [, , slot = 0, host = 0] = node.address.split('.').map(Number);
  return `100.${64 + (slot >> 2)}.${(slot & 3) * 64 + host - 11}.0/24`;
}

/** Gives a node's pods addresses, by a bridge. */
export function writePodNetwork(node: LabNode): void {
  const folder = path.join(node.folder, 'etc-containerd', 'cni');
  fs.mkdirSync(folder, { recursive: true });
  const ipam = { type: 'host-local', ranges: [[{ subnet: podSubnet(node) }]], routes: [{ dst: '0.0.0.0/0' }] };
  const bridge = { type: 'bridge', bridge: 'pods', isGateway: true, hairpinMode: true, ipam };
  const network = {
    cniVersion: '1.0.0',
    name: 'lab',
    plugins: [bridge, { type: 'portmap', capabilities: { portMappings: true } }],
  };
  fs.writeFileSync(path.join(folder, 'lab.conflist'), JSON.stringify(network));
}

/** Leads a node to the pods of the others, and the others, and this machine, to its own. */
export async function routePods(node: LabNode, lab: Lab, signal: AbortSignal): Promise<void> {
  const route = (to: LabNode) => ['ip', 'route', 'replace', podSubnet(to), 'via', to.address];
  const routeFrom = (from: LabNode, to: LabNode) => run(enteringNetwork(from.holder(), route(to)), {}, signal);
  await run(route(node), {}, signal);
  await run(enteringNetwork(node.holder(), ['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward']), {}, signal);
  const others = lab.nodes.filter((other) => other !== node && isAlive(other.holder()));
  await Promise.all(others.flatMap((other) => [routeFrom(node, other), routeFrom(other, node)]));
}

/** Adds pods' networks and their first container to a node's configuration. */
export function withPods(text: string, pauseImage: string): string {
  if (text.startsWith('version = 2')) {
    const cri = '[plugins."io.containerd.grpc.v1.cri"]';
    const cni = `[plugins."io.containerd.grpc.v1.cri".cni]\n  bin_dir = "${CNI_PROGRAMS}"\n  conf_dir = "${CNI_FOLDER}"\n`;
    return `${text.replace(cri, `${cri}\n  sandbox_image = "${pauseImage}"`)}\n${cni}`;
  }
  return `${text}
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["${CNI_PROGRAMS}"]
  conf_dir = "${CNI_FOLDER}"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "${pauseImage}"
`;
}
