import { LOG_LEVELS } from '../log.ts';
import {
  addresses,
  byteRate,
  containerdNamespace,
  count,
  dnsName,
  duration,
  filePath,
  host,
  hostPort,
  kubernetesName,
  kubernetesNames,
  labelSelector,
  loopbackPort,
  members,
  oneOf,
  onOff,
  percentage,
  port,
  registries,
  secretPath,
  socketPath,
  zone,
} from './kinds.ts';
import { POD_SETTINGS } from './pod-settings.ts';
import { type CommandName, optional, required, type Setting, withDefault } from './setting.ts';

/**
 * Everything that can be set. Flags, environment variables, keys of the configuration file, the text of `--help` and
 * docs/reference/settings.md all come from this table.
 */
export const SETTINGS = {
  containerdSocket: withDefault({
    commands: ['mirror', 'check'],
    kind: socketPath,
    default: '/run/containerd/containerd.sock',
    help: "containerd's socket",
    example: '/run/k3s/containerd/containerd.sock',
  }),
  containerdNamespace: withDefault({
    commands: ['mirror'],
    kind: containerdNamespace,
    default: 'k8s.io',
    help: 'The containerd namespace whose images are shared',
    example: 'k8s.io',
  }),
  certsDir: withDefault({
    commands: ['mirror', 'configure', 'cleanup', 'check', 'agent'],
    kind: filePath,
    default: '/etc/containerd/certs.d',
    help: "The folder that containerd's config_path names, with a hosts.toml for each registry",
    example: '/etc/containerd/certs.d',
  }),
  configPath: optional({
    commands: ['mirror', 'check'],
    kind: filePath,
    unset: 'where the distribution whose socket it is keeps it, else /etc/containerd/config.toml',
    help: "containerd's own configuration file, that it was started with",
    example: '/etc/containerd/config.toml',
  }),
  registryAddress: withDefault({
    commands: ['mirror', 'verify', 'agent'],
    kind: loopbackPort,
    default: '127.0.0.1:29981',
    help: "Where this node's containerd asks, and in a pod with an agent whoever pulls there: a loopback address, for nobody else",
    example: '127.0.0.1:29981',
  }),
  peerAddress: withDefault({
    commands: ['mirror'],
    kind: hostPort,
    default: '0.0.0.0:29982',
    help: 'Where other mirrors fetch content from this one',
    example: '10.0.0.7:29982',
  }),
  swarmAddress: withDefault({
    commands: ['mirror'],
    kind: hostPort,
    default: '0.0.0.0:29983',
    help: 'Where other mirrors exchange who holds what',
    example: '10.0.0.7:29983',
  }),
  healthAddress: withDefault({
    commands: ['mirror', 'webhook', 'agent'],
    kind: hostPort,
    default: '0.0.0.0:29984',
    help: 'Where /livez, /readyz and /metrics are answered, and /status by a mirror',
    example: '127.0.0.1:29984',
  }),
  advertiseAddress: optional({
    commands: ['mirror'],
    kind: host,
    unset: 'the address that other members see this node by',
    help: 'The address or host name of this node that other mirrors reach it by, without a port',
    example: '10.0.0.7',
  }),
  members: optional({
    commands: ['mirror'],
    kind: members,
    unset: 'a node on its own, unless --members-dns or --members-file is set',
    help: 'The mirrors of the swarm. This node may be one of them; a port is needed only where it is not that of --swarm-address',
    example: '10.0.0.7,10.0.0.8,node-3:29983',
  }),
  membersDns: optional({
    commands: ['mirror'],
    kind: dnsName,
    unset: 'no look-up',
    help: 'A DNS name that has an address for each mirror of the swarm, as a headless Service has',
    example: 'miroir-swarm.miroir.svc.cluster.local',
  }),
  membersFile: optional({
    commands: ['mirror'],
    kind: filePath,
    unset: 'no file',
    help: 'A file with one mirror of the swarm a line, read again when it changes',
    example: '/etc/miroir/members',
  }),
  swarmKeyFile: required({
    commands: ['mirror'],
    kind: secretPath,
    required: 'make a key once for all nodes, openssl rand -hex 32 > swarm.key, and name its file here',
    help: 'A file with the key that all mirrors of the swarm share, 64 hex digits. A second line may hold the key before it',
    example: '/etc/miroir/swarm.key',
  }),
  peerEncryption: withDefault({
    commands: ['mirror'],
    kind: onOff,
    default: 'on',
    help: 'Whether content is encrypted between mirrors. When off, mirrors still prove the key to each other',
    example: 'off',
  }),
  uploadsPerBlob: withDefault({
    commands: ['mirror'],
    kind: count(64),
    default: '4',
    help: 'To how many mirrors this one sends the same blob at once; others get it from these',
    example: '2',
  }),
  uploadsMax: withDefault({
    commands: ['mirror'],
    kind: count(512),
    default: '64',
    help: 'How many blobs this mirror sends to others at once; more are told to look elsewhere',
    example: '16',
  }),
  uploadRate: optional({
    commands: ['mirror'],
    kind: byteRate,
    unset: 'as fast as the network goes',
    help: 'How many bytes per second of content this mirror sends to others, all together',
    example: '50MB',
  }),
  registries: optional({
    commands: ['mirror', 'configure', 'agent'],
    kind: registries,
    unset: 'every registry',
    help: 'The registries to mirror. A URL says where one is really reached, when that is not https://<name>, and of that alone an agent takes note',
    example: 'docker.io,registry.example=http://10.0.0.1:5000',
  }),
  privateImages: withDefault({
    commands: ['mirror'],
    kind: oneOf('prove', 'prove-always', 'share'),
    default: 'prove',
    help: 'Who gets an image that its registry does not give to everybody. prove: whose pull secret the registry accepts, and in its outage also whoever is not known to be wrong. prove-always: in an outage too only who is known to be right. share: every pod of the node',
    example: 'prove-always',
  }),
  router: withDefault({
    commands: ['mirror'],
    kind: oneOf('one-hop', 'kad'),
    default: 'one-hop',
    help: 'How the swarm keeps its index. All of its mirrors need the same; kad is the slower one',
    example: 'kad',
  }),
  zone: optional({
    commands: ['mirror'],
    kind: zone,
    unset: 'none',
    help: 'The zone that this node is in, for /status to tell',
    example: 'eu-west-1a',
  }),
  ...POD_SETTINGS,
  mirrorAddress: withDefault({
    commands: ['configure'],
    kind: loopbackPort,
    default: '127.0.0.1:29981',
    help: "The --registry-address of this node's mirror, for containerd to ask",
    example: '127.0.0.1:29981',
  }),
  tags: withDefault({
    commands: ['configure'],
    kind: oneOf('fresh', 'mirror-first', 'off'),
    default: 'fresh',
    help: 'Who resolves tags. fresh: the registry, and the mirror when that fails. mirror-first: the mirror, which can lag behind. off: the registry alone',
    example: 'mirror-first',
  }),
  webhookAddress: withDefault({
    commands: ['webhook'],
    kind: hostPort,
    default: '0.0.0.0:29985',
    help: "Where Kubernetes' apiserver asks about new pods",
    example: '0.0.0.0:10250',
  }),
  address: optional({
    commands: ['status'],
    kind: addresses,
    unset: 'all mirrors of the cluster, by way of Kubernetes',
    help: 'The --health-address of mirrors to ask directly, for nodes without Kubernetes',
    example: '10.0.0.7:29984,10.0.0.8:29984',
  }),
  kubeconfig: optional({
    commands: ['webhook', 'status', 'uninstall'],
    kind: filePath,
    unset: 'the service account of the pod that it runs in; for status and uninstall what kubectl takes',
    help: "A kubeconfig file for Kubernetes' API",
    example: '/root/.kube/config',
  }),
  namespace: optional({
    commands: ['webhook', 'status', 'uninstall'],
    kind: kubernetesName,
    unset: 'that of the service account or the kubeconfig; for status all namespaces',
    help: 'The namespace that Miroir is installed in. The webhook leaves pods in it alone',
    example: 'miroir',
  }),
  webhookService: withDefault({
    commands: ['webhook'],
    kind: kubernetesName,
    default: 'miroir-webhook',
    help: 'The Service that the apiserver reaches the webhook by: its certificate is for that name',
    example: 'miroir-webhook',
  }),
  webhookConfiguration: withDefault({
    commands: ['webhook', 'uninstall'],
    kind: kubernetesName,
    default: 'miroir',
    help: 'The MutatingWebhookConfiguration that tells the apiserver of the webhook: the authority is put into its caBundles',
    example: 'miroir',
  }),
  swarmKeySecret: optional({
    commands: ['webhook'],
    kind: kubernetesName,
    unset: 'the webhook makes no key',
    help: 'A Secret to make with a new key for the swarm, unless it is there. It is never read or changed',
    example: 'miroir-swarm-key',
  }),
  authoritySecret: withDefault({
    commands: ['webhook'],
    kind: kubernetesName,
    default: 'miroir-webhook-authority',
    help: "The Secret that the authority of the webhook's certificates is kept in. It is made when it is not there",
    example: 'miroir-webhook-authority',
  }),
  tlsCertificateFile: optional({
    commands: ['webhook'],
    kind: filePath,
    unset: 'a certificate of an own authority',
    help: 'A PEM file with the certificate that the apiserver gets to see, read again when it changes, as cert-manager keeps one in a mounted Secret. The caBundles are then for somebody else to fill in',
    example: '/etc/miroir/tls/tls.crt',
  }),
  tlsKeyFile: optional({
    commands: ['webhook'],
    kind: filePath,
    unset: 'a key of its own',
    help: 'A PEM file with the key of that certificate',
    example: '/etc/miroir/tls/tls.key',
  }),
  lease: withDefault({
    commands: ['webhook', 'uninstall'],
    kind: kubernetesName,
    default: 'miroir-webhook',
    help: 'The Lease by which the replicas of the webhook choose the one that labels nodes',
    example: 'miroir-webhook',
  }),
  mirrorSelector: withDefault({
    commands: ['webhook'],
    kind: labelSelector,
    default: 'app.kubernetes.io/name=miroir,app.kubernetes.io/component=mirror',
    help: "The labels that the mirrors' pods have, in the namespace of the webhook",
    example: 'app=miroir-mirror',
  }),
  mirrorHealthPort: withDefault({
    commands: ['webhook'],
    kind: port,
    default: '29984',
    help: 'The port of --health-address of the mirrors, where they tell their verdict',
    example: '29984',
  }),
  verdictInterval: withDefault({
    commands: ['webhook'],
    kind: duration,
    default: '15s',
    help: 'How often the verdict of every mirror is read. A verdict that changes is believed when it is read a second time',
    example: '30s',
  }),
  forgetAfter: withDefault({
    commands: ['webhook'],
    kind: duration,
    default: '1h',
    help: 'How long a node may be without a mirror before what Miroir wrote on it is taken away',
    example: '24h',
  }),
  incompatibleMax: withDefault({
    commands: ['webhook'],
    kind: percentage,
    default: '50',
    help: 'How many nodes of a hundred may be incompatible. With more of them pods are kept off none',
    example: '20',
  }),
  waitTimeout: withDefault({
    commands: ['webhook'],
    kind: duration,
    default: '5m',
    help: 'How long a pod of gate mode wait waits at most for a node with a mirror',
    example: '10m',
  }),
  certificates: optional({
    commands: ['uninstall'],
    kind: kubernetesNames,
    unset: 'none',
    help: "cert-manager's Certificates to delete, each with its Secret of the same name, which cert-manager would leave",
    example: 'miroir-webhook-tls',
  }),
  timeout: withDefault({
    commands: ['uninstall'],
    kind: duration,
    default: '2m',
    help: 'How long it may take at most. What is not done by then is left, and told',
    example: '5m',
  }),
  logLevel: withDefault({
    commands: ['mirror', 'webhook', 'agent', 'uninstall'],
    kind: oneOf(...LOG_LEVELS),
    default: 'info',
    help: 'The least severe lines that are logged',
    example: 'debug',
  }),
} as const;

export type SettingName = keyof typeof SETTINGS;

type SettingsOf<C extends CommandName> = {
  [N in SettingName as C extends (typeof SETTINGS)[N]['commands'][number] ? N : never]: (typeof SETTINGS)[N];
};

/** What a command runs with: each of its settings, parsed. */
export type ConfigOf<C extends CommandName> = {
  readonly [N in keyof SettingsOf<C>]: SettingsOf<C>[N] extends Setting<infer T> ? T : never;
};

/** Settings that say the same thing in different ways: only one of each group may be set. */
export const EXCLUSIVE: readonly (readonly SettingName[])[] = [['members', 'membersDns', 'membersFile']];

/** The settings of a command, in the order of the table. */
export function settingsOf(command: CommandName): readonly (readonly [SettingName, Setting<unknown>])[] {
  const all = Object.entries(SETTINGS) as [SettingName, Setting<unknown>][];
  return all.filter(([, setting]) => setting.commands.includes(command));
}
