import fs from 'node:fs/promises';

const DEFAULT_CONFIG_FILE = '/etc/containerd/config.toml';

/** Where distributions that bring their own containerd keep its configuration, by what their socket's path begins with. */
const CONFIG_FILES: ReadonlyArray<{ readonly socket: string; readonly files: readonly string[] }> = [
  {
    socket: '/run/k3s/',
    files: [
      '/var/lib/rancher/k3s/agent/etc/containerd/config.toml',
      '/var/lib/rancher/rke2/agent/etc/containerd/config.toml',
    ],
  },
  { socket: '/run/k0s/', files: ['/etc/k0s/containerd.toml'] },
  { socket: '/var/snap/microk8s/', files: ['/var/snap/microk8s/current/args/containerd.toml'] },
];
/** Talos runs kubelet's containerd with this one; /etc/containerd is that of its system services. */
const TALOS_CONFIG_FILE = '/etc/cri/containerd.toml';

/** The configuration file of the containerd behind a socket, as far as a path tells; the usual one where none is there. */
export async function findConfigFile(socket: string): Promise<string> {
  const files = CONFIG_FILES.find((known) => socket.startsWith(known.socket))?.files ?? [];
  for (const file of [...files, TALOS_CONFIG_FILE, DEFAULT_CONFIG_FILE]) {
    if (await isThere(file)) return file;
  }
  return files[0] ?? DEFAULT_CONFIG_FILE;
}

/** Where containerd may be found when it is not where one looked. */
const SOCKETS = [
  '/run/containerd/containerd.sock',
  '/run/k3s/containerd/containerd.sock',
  '/run/k0s/containerd.sock',
  '/var/snap/microk8s/common/run/containerd.sock',
] as const;

/** Those of the usual sockets, other than this one, that are there. */
export async function findOtherSockets(socket: string): Promise<readonly string[]> {
  const found: string[] = [];
  for (const other of SOCKETS) if (other !== socket && (await isThere(other))) found.push(other);
  return found;
}

async function isThere(file: string): Promise<boolean> {
  try {
    await fs.stat(file);
    return true;
  } catch {
    return false;
  }
}
