import type { ContainerdVersion } from './containerd-version.ts';
import type { Distribution } from './distribution.ts';

export interface FixContext {
  readonly distribution: Distribution;
  /** Undefined when it is not known: then the newest one's names are used. */
  readonly version: ContainerdVersion | undefined;
  readonly certsDir: string;
  readonly configFile: string;
}

/** What can be set in containerd's configuration, by the names of its newest version. */
export interface Wanted {
  readonly config_path?: string;
  readonly discard_unpacked_layers?: boolean;
}

const NEWEST: ContainerdVersion = { major: 2, minor: 4, patch: 0 };

/** How settings are changed on this distribution, with the lines to change. */
export function fixSettings(wanted: Wanted, context: FixContext): string {
  const guide = GUIDES[context.distribution];
  const certsDir = guide.certsDir ?? context.certsDir;
  // Where the distribution has a folder of its own for hosts.toml files, the mirror's go there too.
  const isMoved = wanted.config_path !== undefined && guide.certsDir !== undefined && certsDir !== context.certsDir;
  const settings = { ...wanted, ...(wanted.config_path !== undefined && { config_path: certsDir }) };
  const steps = [guide.how({ ...context, certsDir }, tomlFor(settings, context.version))];
  if (isMoved) steps.push(`then run miroir with --certs-dir ${certsDir}`);
  return steps.join('\n');
}

/** The folder that a distribution has its own containerd read, where that is not a matter of configuration. */
export function ownCertsDir(distribution: Distribution): string | undefined {
  return GUIDES[distribution].certsDir;
}

/** The settings as lines of a configuration, for this containerd: its sections have other names in each generation. */
function tomlFor(wanted: Wanted, version: ContainerdVersion | undefined): string {
  const isOne = (version ?? NEWEST).major < 2;
  const images = isOne ? 'io.containerd.grpc.v1.cri' : 'io.containerd.cri.v1.images';
  const lines: string[] = [];
  if (wanted.discard_unpacked_layers !== undefined) {
    lines.push(`[plugins."${images}"${isOne ? '.containerd' : ''}]`);
    lines.push(`discard_unpacked_layers = ${wanted.discard_unpacked_layers}`);
  }
  if (wanted.config_path !== undefined) {
    lines.push(`[plugins."${images}".registry]`, `config_path = ${JSON.stringify(wanted.config_path)}`);
  }
  return lines.map((line) => `  ${line}`).join('\n');
}

interface Guide {
  readonly certsDir?: string;
  /** `toml` are the lines to change, each indented by two spaces. */
  readonly how: (context: FixContext, toml: string) => string;
}

/** With 1.x, a file of imports is no way to change one setting. */
const REPLACES =
  'Change these lines where they stand: in containerd 1.x a file of imports replaces the whole section, not the lines that it has.';

const byHand: Guide = {
  how: ({ configFile, version }, toml) =>
    `set in ${configFile}, then restart containerd:\n${toml}${version?.major === 1 ? `\n${REPLACES}` : ''}`,
};

const rancher = (name: 'k3s' | 'rke2'): Guide => {
  const folder = `/var/lib/rancher/${name}/agent/etc/containerd`;
  return {
    certsDir: `${folder}/certs.d`,
    how: ({ version }, toml) => {
      const template = version?.major === 1 ? 'config.toml.tmpl' : 'config-v3.toml.tmpl';
      return `${name} writes its configuration anew at each start. Change these lines in a copy of its template, ${folder}/${template}, and restart ${name}:\n${toml}`;
    },
  };
};

const GUIDES: Readonly<Record<Distribution, Guide>> = {
  aks: {
    how: (_context, toml) =>
      `AKS has no setting for it. A node image or a DaemonSet of yours that runs on each new node has to set, before it restarts containerd:\n${toml}`,
  },
  bottlerocket: {
    how: (_context, toml) =>
      `Bottlerocket has no setting for it. Have a bootstrap container write a file below /etc/containerd/config.d of the host, which its configuration imports (settings.bootstrap-containers, mode = "always"):\n  version = 3\n${toml}`,
  },
  digitalocean: {
    how: (_context, toml) =>
      `DigitalOcean has no setting for it, and replaces nodes without asking. Keep the mirror's pods off these nodes, or have a DaemonSet of yours set on each new one, before it restarts containerd:\n${toml}`,
  },
  'eks-al2': {
    how: ({ configFile }, toml) =>
      `change these lines of ${configFile} in the node's user data, before bootstrap.sh runs (or give it a whole configuration with --containerd-config-file); a file in /etc/containerd/config.d would replace the whole section:\n${toml}`,
  },
  'eks-al2023': {
    how: (_context, toml) =>
      `put it into the node's user data, then replace the node; nodeadm merges it into its own configuration:\n  apiVersion: node.eks.aws/v1alpha1\n  kind: NodeConfig\n  spec:\n    containerd:\n      config: |\n${toml.replaceAll(/^/gm, '      ')}`,
  },
  gke: {
    certsDir: '/etc/containerd/hosts.d',
    how: () =>
      'GKE owns the file. Give the node pool a runtime configuration with registryHosts (GKE 1.34.1-gke.2980000 or newer), for which GKE sets config_path and makes the nodes anew: gcloud container node-pools update POOL --containerd-config-from-file FILE',
  },
  k0s: {
    how: (_context, toml) =>
      `put it into /etc/k0s/containerd.d/miroir.toml; k0s merges it and restarts containerd by itself:\n  version = ${_context.version?.major === 1 ? 2 : 3}\n${toml}`,
  },
  k3s: rancher('k3s'),
  kind: {
    how: (_context, toml) =>
      `put it into kind's cluster configuration, then make the cluster anew:\n  kind: Cluster\n  apiVersion: kind.x-k8s.io/v1alpha4\n  containerdConfigPatches:\n  - |-\n${toml.replaceAll(/^/gm, '  ')}`,
  },
  kubeadm: byHand,
  rke2: rancher('rke2'),
  talos: {
    certsDir: '/etc/cri/conf.d/hosts',
    how: (_context, toml) =>
      `put it into the machine configuration, and apply it (talosctl patch mc):\n  machine:\n    files:\n    - path: /etc/cri/conf.d/20-customization.part\n      op: create\n      content: |\n${toml.replaceAll(/^/gm, '      ')}`,
  },
  unknown: byHand,
  vke: byHand,
};
