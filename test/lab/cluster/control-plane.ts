import { generateKeyPairSync, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { LabError } from '../lab-error.ts';
import { type Program, until } from '../namespace.ts';
import { identifyProcess, isAlive } from '../process-id.ts';
import { findBuilt } from '../programs.ts';
import { AUDIT_POLICY, type AuditEvent, readAuditLog } from './audit-log.ts';
import { startChildProgram } from './child-program.ts';
import { createKubeCall, type KubeCall } from './kube-call.ts';

export interface ControlPlaneOptions {
  /** Binds pods to nodes. */
  readonly scheduler?: boolean;
  /** Makes the pods of Deployments, Jobs and the like, and service accounts; without it pods need none. */
  readonly controllerManager?: boolean;
  /** Nodes with kubelets, which reach it at an address of this machine; without one it is on a loopback address. */
  readonly cluster?: { readonly address: string; readonly nodes: readonly string[] };
}

/** A real etcd and kube-apiserver on a loopback address of their own. Everybody who has the token may do everything. */
export interface ControlPlane {
  readonly url: string;
  /** Its address, where others may listen on ports of their own. */
  readonly address: string;
  /** A file for kubectl and for clients. */
  readonly kubeconfig: string;
  /** Files for the kubelet of a node, for kube-proxies and for the DNS server of a cluster. */
  kubeconfigOf(user: string): string;
  /** Logs and everything else. */
  readonly folder: string;
  readonly call: KubeCall;
  /** Every answered write of pods and of what admission is configured with, in the order of the answers. */
  audit(): readonly AuditEvent[];
  apiserver(): Program;
  /** Stops the apiserver; etcd keeps what it knew. */
  stopApiserver(signal?: NodeJS.Signals): Promise<void>;
  /** Resolves when it is ready. */
  startApiserver(signal?: AbortSignal): Promise<void>;
  /** Ends everything and removes every trace. Safe to call twice. */
  down(): Promise<void>;
}

const ROOT = path.join(import.meta.dirname, '..', '..', '..', '.lab', 'cluster');
/** etcd answers in a second, the apiserver in four; several of them on two busy cores take longer. */
const START_MS = 90_000;
/** Below the ephemeral ports. */
const FIRST_PORT = 12_000;
const SERVICE_RANGE = '10.211.0.0/16';

/** Who may come in: name, and groups. The scheduler and the controller-manager have roles by their names. */
const USERS = {
  admin: { name: 'lab-admin', groups: 'system:masters' },
  scheduler: { name: 'system:kube-scheduler', groups: '' },
  controllerManager: { name: 'system:kube-controller-manager', groups: '' },
} as const;

interface User {
  readonly name: string;
  readonly groups: string;
}

interface Place {
  readonly address: string;
  readonly etcdPort: number;
  readonly etcdPeerPort: number;
  readonly apiserverPort: number;
}

let counter = 0;

/** Rejects with nothing left behind: with ERR_LAB_REQUIREMENT_MISSING when a program is not built, and says how to. */
export async function createControlPlane(options: ControlPlaneOptions, signal: AbortSignal): Promise<ControlPlane> {
  const etcdFolder = findBuilt('etcd');
  const kubernetesFolder = findBuilt('kubernetes');
  removeDead();
  const number = counter++;
  const folder = path.join(ROOT, folderName(number));
  fs.mkdirSync(folder, { recursive: true });
  const place = placeOf(number, options.cluster?.address ?? loopbackAddress());
  const url = `https://${place.address}:${place.apiserverPort}`;
  const users = { ...USERS, ...clusterUsers(options.cluster?.nodes ?? []) };
  const tokens = writeTokens(folder, users);
  const file = (name: string) => path.join(folder, name);
  const running = new Set<Program>();
  const start = (name: string, argv: readonly string[]) => {
    const program = startChildProgram(argv, file(`${name}.log`));
    running.add(program);
    return program;
  };
  const { call, close } = createKubeCall({
    url,
    token: tokens['admin'] as string,
    ca: () => fs.readFileSync(file('certs/apiserver.crt'), 'utf8'),
  });
  const isReady = () =>
    call('GET', '/readyz').then(
      ({ status }) => status === 200,
      () => false,
    );

  async function down(): Promise<void> {
    close();
    // The apiserver waits for its watchers when it is asked to end; nobody needs what it would still write.
    await Promise.all([...running].map((program) => program.stop('SIGKILL')));
    fs.rmSync(folder, { recursive: true, force: true });
  }

  const apiserverArgv = [path.join(kubernetesFolder, 'kube-apiserver'), ...apiserverFlags(options, place, file)];
  let apiserver: Program;
  async function startApiserver(startSignal: AbortSignal = new AbortController().signal): Promise<void> {
    apiserver = start('kube-apiserver', apiserverArgv);
    await untilReady(apiserver, isReady, startSignal);
  }

  try {
    writeFiles(file);
    const etcd = start('etcd', [path.join(etcdFolder, 'server'), ...etcdFlags(place, file)]);
    const health = `http://${place.address}:${place.etcdPort}/health`;
    await untilReady(
      etcd,
      () =>
        fetch(health).then(
          ({ ok }) => ok,
          () => false,
        ),
      signal,
    );
    await startApiserver(signal);
    for (const [user, token] of Object.entries(tokens)) {
      const ca = fs.readFileSync(file('certs/apiserver.crt'));
      fs.writeFileSync(file(`${user}.kubeconfig`), kubeconfig(url, ca, token), { mode: 0o600 });
    }
    if (options.scheduler)
      start('kube-scheduler', [
        path.join(kubernetesFolder, 'kube-scheduler'),
        ...clientFlags(file('scheduler.kubeconfig')),
      ]);
    if (options.controllerManager)
      start('kube-controller-manager', [
        path.join(kubernetesFolder, 'kube-controller-manager'),
        ...clientFlags(file('controllerManager.kubeconfig')),
        '--use-service-account-credentials',
        `--service-account-private-key-file=${file('service-account.key')}`,
        `--root-ca-file=${file('certs/apiserver.crt')}`,
      ]);
  } catch (error) {
    await down();
    throw error;
  }
  return {
    url,
    address: place.address,
    kubeconfig: file('admin.kubeconfig'),
    kubeconfigOf: (user) => file(`${user}.kubeconfig`),
    folder,
    call,
    audit: () => readAuditLog(file('audit.log')),
    apiserver: () => apiserver,
    stopApiserver: async (how) => {
      await apiserver.stop(how);
      running.delete(apiserver);
    },
    startApiserver,
    down,
  };
}

function apiserverFlags(
  { cluster, controllerManager }: ControlPlaneOptions,
  { address, etcdPort, apiserverPort }: Place,
  file: (name: string) => string,
): string[] {
  return [
    `--etcd-servers=http://${address}:${etcdPort}`,
    `--bind-address=${address}`,
    `--advertise-address=${address}`,
    `--secure-port=${apiserverPort}`,
    // Otherwise it would publish the address, and a loopback one is refused there.
    ...(cluster ? CLUSTER_FLAGS : ['--endpoint-reconciler-type=none']),
    `--cert-dir=${file('certs')}`,
    `--token-auth-file=${file('tokens.csv')}`,
    '--authorization-mode=Node,RBAC',
    '--enable-admission-plugins=NodeRestriction',
    // Nobody makes the service accounts that pods would need.
    ...(controllerManager ? [] : ['--disable-admission-plugins=ServiceAccount']),
    '--allow-privileged=true',
    `--service-cluster-ip-range=${SERVICE_RANGE}`,
    '--service-account-issuer=https://kubernetes.default.svc',
    `--service-account-signing-key-file=${file('service-account.key')}`,
    `--service-account-key-file=${file('service-account.pub')}`,
    `--audit-policy-file=${file('audit-policy.json')}`,
    `--audit-log-path=${file('audit.log')}`,
    '--audit-log-mode=blocking', // What was answered is in the file.
  ];
}

/** The apiserver is on no node: it goes to pods itself, by the routes of this machine, and calls kubelets by their addresses. */
const CLUSTER_FLAGS = ['--enable-aggregator-routing=true', '--kubelet-preferred-address-types=InternalIP'];

function clusterUsers(nodes: readonly string[]): Readonly<Record<string, User>> {
  const kubelets = nodes.map((name) => [name, { name: `system:node:${name}`, groups: 'system:nodes' }] as const);
  if (kubelets.length === 0) return {};
  const kubeProxy = { name: 'system:kube-proxy', groups: '' };
  return { ...Object.fromEntries(kubelets), kubeProxy, dns: { name: 'lab-dns', groups: 'system:masters' } };
}

function etcdFlags({ address, etcdPort, etcdPeerPort }: Place, file: (name: string) => string): string[] {
  const client = `http://${address}:${etcdPort}`;
  const peer = `http://${address}:${etcdPeerPort}`;
  return [
    `--data-dir=${file('etcd')}`,
    `--listen-client-urls=${client}`,
    `--advertise-client-urls=${client}`,
    `--listen-peer-urls=${peer}`,
    `--initial-advertise-peer-urls=${peer}`,
    `--initial-cluster=default=${peer}`,
    '--unsafe-no-fsync', // It need not outlive the machine.
    '--logger=zap',
    '--log-level=warn',
  ];
}

/** Neither serves anything, and each is the only one. */
function clientFlags(kubeconfigFile: string): string[] {
  return [`--kubeconfig=${kubeconfigFile}`, '--leader-elect=false', '--secure-port=0'];
}

function writeFiles(file: (name: string) => string): void {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  fs.writeFileSync(file('service-account.key'), privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  fs.writeFileSync(file('service-account.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
  fs.writeFileSync(file('audit-policy.json'), JSON.stringify(AUDIT_POLICY));
}

/** https://kubernetes.io/docs/reference/access-authn-authz/authentication/#static-token-file */
function writeTokens(folder: string, users: Readonly<Record<string, User>>): Readonly<Record<string, string>> {
  const tokens = Object.fromEntries(Object.keys(users).map((key) => [key, randomToken()]));
  const lines = Object.entries(users).map(([key, { name, groups }]) => `${tokens[key]},${name},${name},"${groups}"\n`);
  fs.writeFileSync(path.join(folder, 'tokens.csv'), lines.join(''), { mode: 0o600 });
  return tokens;
}

function randomToken(): string {
  return randomBytes(24).toString('hex');
}

function kubeconfig(url: string, ca: Buffer, token: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'lab', cluster: { server: url, 'certificate-authority-data': ca.toString('base64') } }],
    users: [{ name: 'lab', user: { token } }],
    contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'lab' } }],
    'current-context': 'lab',
  });
}

async function untilReady(program: Program, isReady: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  const late = AbortSignal.timeout(START_MS);
  await until(
    () => {
      if (program.isRunning()) return isReady();
      throw new LabError('ERR_LAB_PROGRAM_ENDED', `a program of the control plane ended: ${program.logTail()}`);
    },
    AbortSignal.any([signal, late]),
    () => `a program of the control plane is not ready: ${program.logTail()}`,
  );
}

/** The whole of 127.0.0.0/8 is this machine: a pid, of 22 bits at most, has an address of its own, and no port is searched. */
function loopbackAddress(): string {
  const { pid } = process;
  return `127.${64 + (pid >> 16)}.${(pid >> 8) & 255}.${pid & 255}`;
}

/** Apart from those of the process's other control planes. */
function placeOf(number: number, address: string): Place {
  const first = FIRST_PORT + 3 * number;
  return { address, etcdPort: first, etcdPeerPort: first + 1, apiserverPort: first + 2 };
}

/** Names the process that it ends with. */
function folderName(number: number): string {
  return `${process.pid}-${identifyProcess(process.pid)?.startTime}-${number}`;
}

/** Its programs ended with the process that made it, by the kernel's doing; its folder is left. */
function removeDead(): void {
  for (const name of fs.existsSync(ROOT) ? fs.readdirSync(ROOT) : []) {
    const [pid, startTime] = name.split('-');
    if (isAlive({ pid: Number(pid), startTime: startTime ?? '' })) continue;
    fs.rmSync(path.join(ROOT, name), { recursive: true, force: true });
  }
}
