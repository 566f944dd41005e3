import type { ConfigRead } from './read-config.ts';

/** Who sets up a node's containerd, and so where its settings are changed. */
export type Distribution =
  | 'aks'
  | 'bottlerocket'
  | 'digitalocean'
  | 'eks-al2'
  | 'eks-al2023'
  | 'gke'
  | 'k0s'
  | 'k3s'
  | 'kind'
  | 'kubeadm'
  | 'rke2'
  | 'talos'
  | 'unknown'
  | 'vke';

export interface DistributionClues {
  readonly socket: string;
  readonly configFile: string;
  readonly config: ConfigRead;
}

/** A setting anywhere in the files, by the last part of its name. */
type Settings = ReadonlyMap<string, readonly unknown[]>;

/**
 * Tells the distribution by where it keeps things and by what it alone writes into a configuration. Some leave no trace:
 * kubeadm's nodes are what their owner made them, and so are those of DigitalOcean and Vultr to all that can be seen.
 */
export function detectDistribution({ socket, configFile, config }: DistributionClues): Distribution {
  const settings = collect(config);
  const has = (name: string, is: (value: unknown) => boolean) => settings.get(name)?.some(is) ?? false;
  const starts = (prefix: string) => (value: unknown) => typeof value === 'string' && value.startsWith(prefix);
  const equals = (text: string) => (value: unknown) => value === text;

  if (configFile.startsWith('/var/lib/rancher/rke2/')) return 'rke2';
  if (configFile.startsWith('/var/lib/rancher/k3s/') || socket.startsWith('/run/k3s/')) return 'k3s';
  if (configFile.startsWith('/etc/k0s/') || socket.startsWith('/run/k0s/')) return 'k0s';
  if (configFile.startsWith('/etc/cri/')) return 'talos';
  if (settings.has('test-handler')) return 'kind';
  const isGke = starts('/home/kubernetes/');
  if (has('bin_dir', isGke) || has('bin_dirs', (value) => Array.isArray(value) && value.some(isGke))) return 'gke';
  if (settings.has('X-Meta-Source-Client')) return 'aks';
  if (has('base_runtime_spec', equals('/etc/containerd/base-runtime-spec.json'))) return 'eks-al2023';
  const isAmazon = ['sandbox', 'sandbox_image'].some((name) => has(name, isAmazonPause));
  if (isAmazon && has('base_runtime_spec', equals('/etc/containerd/cri-base.json'))) return 'bottlerocket';
  return isAmazon ? 'eks-al2' : 'unknown';
}

function isAmazonPause(value: unknown): boolean {
  return typeof value === 'string' && /^localhost\/kubernetes\/pause\b|\/eks\/pause:/.test(value);
}

/** Configurations are small, and this is asked once for each reading of them. */
function collect({ files }: ConfigRead): Settings {
  const settings = new Map<string, unknown[]>();
  const queue: unknown[] = files.map(({ table }) => table['plugins']);
  while (queue.length > 0) {
    const table = queue.pop();
    if (typeof table !== 'object' || table === null || Array.isArray(table)) continue;
    for (const [name, value] of Object.entries(table)) {
      const values = settings.get(name);
      if (values === undefined) settings.set(name, [value]);
      else values.push(value);
      queue.push(value);
    }
  }
  return settings;
}
