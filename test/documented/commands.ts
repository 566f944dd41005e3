/**
 * What becomes of each command of the documents: `test/documented-commands.test.ts` compares the two, and each place has a test
 * that runs all of its own, in the order that they have here.
 */
export type Documented = Run | Target | Untried;

/** Where a command is run: in the checkout; as root on this machine; on nodes of a lab; in a cluster at an install, in use, at an uninstall. */
export type Place = 'checkout' | 'machine' | 'node' | 'install' | 'use' | 'cert-manager' | 'uninstall';

export interface Run {
  readonly place: Place;
  /** What stands in the command for something of the reader's, and what the test has in its place; before what the place says. */
  readonly with?: Readonly<Record<string, string>>;
  /** What a sentence around the command adds to it. */
  readonly and?: string;
  /** Commands of a reader who got here. */
  readonly before?: string;
  /** In what it writes. */
  readonly says?: RegExp;
  /** Not at once: it is run again until it says so. */
  readonly soon?: true;
  /** It stays; what follows is run beside it, until the next one that stays. */
  readonly stays?: true;
}

/** A target of the Makefile or a script of package.json. What it does is to run tests, or its own has a test. */
export interface Target {
  readonly place: 'target';
}

export interface Untried {
  readonly place: 'nowhere';
  readonly why: string;
}

const TARGET: Target = { place: 'target' };

export const COMMANDS: Readonly<Record<string, Documented>> = {
  'apt-get install git make': { place: 'nowhere', why: 'there is no checkout before it' },
  'make test': TARGET,
  'make build': TARGET,
  'make check': TARGET,
  'make e2e': TARGET,
  'make image': TARGET,
  'make bench': TARGET,
  'make soak': TARGET,
  'npm ci': { place: 'nowhere', why: 'nothing runs before it' },
  'npm test': TARGET,
  'npm run docs': TARGET,
  'npm run protos': TARGET,
  'npm run faults': TARGET,
  'npm run faults -- --write': TARGET,
  'npm run bench -- NAME --json': TARGET,
  'npm run lab -- up': TARGET,
  'npm run lab -- up --nodes 3 --containerd 1.6.20,2.4 --mirror': TARGET,
  'node test/soak/run.ts --minutes 3 --seed 7': {
    place: 'nowhere',
    why: 'the soak test runs its parts for three minutes',
  },
  'docker build --tag registry.example/miroir:0.1.0 --build-arg COMMIT=$(git rev-parse --short=12 HEAD) --build-arg VERSION=0.1.0 .':
    {
      place: 'nowhere',
      why: 'it fetches a base; the image test has buildah build the same Dockerfile with the same arguments',
    },
  'docker push registry.example/miroir:0.1.0': {
    place: 'nowhere',
    why: 'there is no Docker; the cluster tests push by buildah',
  },
  'helm uninstall spegel --namespace spegel': { place: 'nowhere', why: 'its chart is on no machine of the tests' },
  'kubectl logs -n miroir job/miroir-uninstall': { place: 'nowhere', why: 'a Job that succeeded is gone' },

  'node cli/main.ts mirror --help': { place: 'checkout', says: /--swarm-key-file/ },
  'node --test mirror/advertiser.test.ts': { place: 'checkout', says: /fail 0/ },
  'miroir webhook': { place: 'checkout', and: ' --help', says: /--webhook-address/ },
  'miroir agent': { place: 'checkout', and: ' --help', says: /--answer-tags/ },

  'make demo': { place: 'machine', says: /registry stopped/i },

  'cd /opt/miroir && make build': { place: 'node', says: /^miroir \d+\.\d+\.\d+ /m },
  'ln -s /opt/miroir/dist/miroir /usr/local/bin/miroir': { place: 'node' },
  'openssl rand -hex 32 > swarm.key': { place: 'node' },
  'install -D -m 600 swarm.key /etc/miroir/swarm.key': { place: 'node' },
  'miroir check': { place: 'node', says: /: compatible/ },
  'miroir check --json': { place: 'node', says: /"result": ?"compatible"/ },
  'miroir configure': { place: 'node' },
  'miroir mirror --swarm-key-file /etc/miroir/swarm.key --members node-1,node-2,node-3': {
    place: 'node',
    with: { 'node-1,node-2,node-3': 'MEMBERS' },
    stays: true,
  },
  'miroir mirror --swarm-key-file /etc/miroir/swarm.key --members 10.0.0.7,10.0.0.8,10.0.0.9': {
    place: 'node',
    with: { '10.0.0.7,10.0.0.8,10.0.0.9': 'MEMBERS' },
    stays: true,
  },
  'curl http://127.0.0.1:29984/readyz': { place: 'node', says: /^ok/ },
  'miroir verify registry.example/team/app:v1': { place: 'node', says: /this node needs no registry for it/ },
  'miroir verify IMAGE': {
    place: 'node',
    with: { IMAGE: 'registry.example/team/app:v1 --json' },
    says: /"source": "peer"/,
  },
  'ctr namespaces list': { place: 'node', says: /^k8s\.io/m },
  'ctr image pull': { place: 'node', and: ' --hosts-dir /etc/containerd/certs.d registry.example/team/app:v1' },
  'miroir cleanup': { place: 'node' },
  'cd /etc/containerd/certs.d && [ -d _backup ] && find . -mindepth 1 -maxdepth 1 ! -name _backup -exec rm -r {} + && mv _backup/* . && rmdir _backup':
    {
      place: 'node',
      before: 'cd /etc/containerd/certs.d && mkdir _backup spegel && mv upstream.lab:5000 _backup',
      and: ' && ls',
      says: /^upstream\.lab:5000\n$/,
    },

  'helm install miroir charts/miroir --namespace miroir --create-namespace --set image.repository=registry.example/miroir':
    {
      place: 'install',
      and: " --set 'imagePullSecrets={pull},webhook.extraArgs={--verdict-interval=2s}'",
    },
  'kubectl rollout status daemonset/miroir --namespace miroir': { place: 'install', says: /successfully rolled out/ },
  'helm test miroir --namespace miroir': { place: 'install', says: /Phase: +Succeeded/ },

  'miroir status': { place: 'use', says: /^n2 .* compatible +yes /m },
  'ln -s $(command -v miroir) /usr/local/bin/kubectl-miroir': { place: 'use' },
  'kubectl miroir status': { place: 'use', says: /^n2 .* compatible +yes /m },
  'kubectl label namespace team miroir.dev/mirror=enabled': { place: 'use' },
  'kubectl get nodes -L miroir.dev/containerd': { place: 'use', says: /^n2 .* compatible$/m, soon: true },
  'kubectl describe node': { place: 'use', says: /MiroirReady +True/, soon: true },
  'kubectl exec': {
    place: 'use',
    and: ' -n miroir daemonset/miroir -- miroir verify registry.example/team/app:v1',
    says: /this node needs no registry for it/,
  },
  'kubectl rollout restart': {
    place: 'use',
    and: ' deployment/app -n team && kubectl rollout status deployment/app -n team',
  },
  'kubectl annotate secret -n miroir miroir-webhook-authority miroir.dev/rotate=now': { place: 'use' },
  'kubectl describe pod -n miroir -l app.kubernetes.io/component=webhook': { place: 'use', says: /miroir-webhook/ },
  'kubectl describe daemonset -n miroir miroir': { place: 'use', says: /Pods Status: +2 Running/ },
  'kubectl logs -n miroir POD': { place: 'use', with: { POD: 'daemonset/miroir' }, says: /"msg":/ },
  'helm upgrade miroir charts/miroir --namespace miroir --reset-then-reuse-values --set sidecar.enabled=true': {
    place: 'use',
    and: ' --wait',
  },
  'kubectl logs POD --container miroir-agent': {
    place: 'use',
    with: { POD: 'builder -n team' },
    before:
      'kubectl run builder -n team --image=registry.example/team/app:v1 --annotations=miroir.dev/sidecar=enabled && kubectl wait pod/builder -n team --for=condition=Ready --timeout=60s',
    says: /"msg":/,
  },

  'kubectl describe certificate,issuer -n miroir': { place: 'cert-manager', says: /Certificate is up to date/ },

  'helm uninstall miroir --namespace miroir --no-hooks': {
    place: 'uninstall',
    and: ' --wait',
    before: 'miroir uninstall --namespace miroir',
  },
  'miroir uninstall --namespace miroir': { place: 'uninstall', says: /Nothing of the webhook is left/ },
  'kubectl create secret generic swarm-key --namespace miroir --from-file=swarm.key=<(openssl rand -hex 32)': {
    place: 'uninstall',
    and: " && kubectl get secret swarm-key -n miroir -o jsonpath='{.data.swarm\\.key}' | base64 -d",
    says: /[0-9a-f]{64}\n$/,
  },
  'kustomize build --enable-helm charts | kubectl apply -f -': {
    place: 'uninstall',
    and: ' --dry-run=server',
    says: /daemonset\.apps\/miroir created/,
  },
  'kubectl delete secret': { place: 'uninstall', and: ' swarm-key -n miroir' },
  'helm uninstall miroir --namespace miroir': {
    place: 'uninstall',
    and: ' --wait',
    before:
      'helm install miroir charts/miroir --namespace miroir --set image.repository=registry.example/miroir && kubectl rollout status daemonset/miroir -n miroir',
  },
};
