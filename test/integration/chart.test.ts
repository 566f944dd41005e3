/** The chart: what helm makes of it, and what a real apiserver makes of that. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { createAuthority } from '../../certs/authority.ts';
import { fetchCertManagerKinds } from '../lab/cluster/cert-manager.ts';
import { type ControlPlane, createControlPlane } from '../lab/cluster/control-plane.ts';
import { fetchMonitoringKinds, installKinds } from '../lab/cluster/custom-kinds.ts';
import {
  byName,
  CHART,
  helm,
  type Manifest,
  parseManifests,
  pathOf,
  renderChart,
  runHelm,
} from '../lab/cluster/helm.ts';
import type { KubeList } from '../lab/cluster/kube-object.ts';
import { fetchSchemas, problemsOf } from '../lab/cluster/kubernetes-schemas.ts';
import { run, until } from '../lab/namespace.ts';
import { MIROIR } from '../lab/node-mirror.ts';
import { validity } from './webhook-cluster.ts';

const IMAGE = '--set=image.repository=registry.example/miroir';
const DEADLINE_MS = 2 * 60_000;
/** Everything that can be switched on, and every text and list that is empty unless told. */
const FULL = [
  IMAGE,
  `--set=image.digest=sha256:${'0f'.repeat(32)}`,
  '--set=imagePullSecrets={pull}',
  '--set=containerd.configPath=/etc/containerd/config.toml',
  '--set=registries={docker.io,registry.example=http://10.0.0.1:5000}',
  '--set=mirror.extraArgs={--zone=a}',
  '--set-json=mirror.extraEnv=[{"name":"HTTPS_PROXY","value":"http://proxy.example:3128"},{"name":"NO_PROXY","valueFrom":{"secretKeyRef":{"name":"proxy","key":"no"}}}]',
  '--set=sidecar.enabled=true,sidecar.extraArgs={--answer-tags=on}',
  '--set=mirror.podLabels.team=infra,mirror.podAnnotations.note=yes',
  '--set=webhook.podLabels.team=infra,webhook.podAnnotations.note=yes',
  '--set=webhook.extraArgs={--log-level=debug}',
  '--set-json=webhook.tolerations=[{"operator":"Exists"}]',
  '--set-json=webhook.affinity={"nodeAffinity":{}}',
  '--set-json=mirror.affinity={"nodeAffinity":{}}',
  '--set=metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=prometheus',
  '--set=metrics.prometheusRule.enabled=true,metrics.dashboard.enabled=true',
];
const OWN_CERTIFICATES = ['--set=webhook.tlsSecret=tls', '--set=webhook.configurationAnnotations.a=b'];
const CERT_MANAGER = ['--set=webhook.certManager.enabled=true', '--set=webhook.configurationAnnotations.a=b'];
const OWN_ISSUER = ['--set=webhook.certManager.issuerRef.name=ours,webhook.certManager.issuerRef.kind=ClusterIssuer'];
/** The newest; the one that a cluster is tried with is older. */
const CERT_MANAGER_VERSION = '1.21.2';
/** Of the Prometheus operator. */
const OPERATOR_VERSION = '0.85.0';
const VERSIONS = ['1.33.5', '1.34.4', '1.35.4', '1.36.3', '1.37.2'];

const deadline = (signal: AbortSignal) => AbortSignal.any([signal, AbortSignal.timeout(DEADLINE_MS)]);

for (const [title, values] of Object.entries({ 'the least': [IMAGE], everything: FULL })) {
  test(`helm lint has nothing to say about ${title}`, async (t) => {
    const said = await helm(['lint', '--strict', CHART, ...values], deadline(t.signal));

    assert.match(said, /0 chart\(s\) failed/);
  });
}

for (const [title, values] of Object.entries({ 'the least': [IMAGE], everything: FULL })) {
  test(`Helm 3 makes of ${title} what Helm 4 makes of it, and has nothing to say about it`, async (t) => {
    const signal = deadline(t.signal);
    // A key that is made is another one each time, and Helm 3 knows a Kubernetes of its own only where its makers built it.
    const args = [...values, '--set=swarmKey.existingSecret=swarm-key', '--kube-version=1.36.3'];
    const rendered = await renderChart(args, signal);

    const said = await runHelm('helm3', ['lint', '--strict', CHART, ...args], signal);
    const text = await runHelm('helm3', ['template', 'miroir', CHART, '--namespace=miroir', ...args], signal);

    assert.match(said, /0 chart\(s\) failed/);
    assert.deepEqual(byName(parseManifests(text)), byName(rendered));
  });
}

for (const version of VERSIONS) {
  test(`what it renders is what Kubernetes ${version} knows`, async (t) => {
    const signal = deadline(t.signal);
    const schemas = await fetchSchemas(version, signal);

    for (const values of [FULL, [...FULL, ...OWN_CERTIFICATES], [...FULL, ...CERT_MANAGER]]) {
      const manifests = await renderChart([...values, `--kube-version=${version}`], signal);
      const known = manifests.filter(
        ({ apiVersion }) => !/^(monitoring\.coreos\.com|cert-manager\.io)\//.test(apiVersion),
      );
      assert.ok(known.length > 10);
      assert.deepEqual(
        known.flatMap((manifest) => problemsOf(manifest, schemas)),
        [],
      );
    }
  });
}

test('a field that Kubernetes does not know, and one of the wrong type, are seen', async (t) => {
  const schemas = await fetchSchemas('1.36.3', deadline(t.signal));
  const service = { apiVersion: 'v1', kind: 'Service', spec: { clusterIP: 7, ports: [{ port: 'http', prot: 1 }] } };

  const problems = problemsOf(service, schemas);

  assert.deepEqual(problems, [
    'Service.spec.clusterIP is no string',
    'Service.spec.ports[0].port is no integer',
    'Service.spec.ports[0].prot is not known',
  ]);
});

test('refuses a Kubernetes that is too old', async (t) => {
  await assert.rejects(
    renderChart([IMAGE, '--kube-version=1.32.9'], deadline(t.signal)),
    /requires kubeVersion: >=1\.33/,
  );
});

for (const [wrong, says] of Object.entries({
  'tags=sometimes': /tags.*'fresh', 'mirror-first', 'off'/,
  'mirror.port=1': /mirror.*'port' not allowed/,
  'mirrors.logLevel=debug': /'mirrors' not allowed/,
  'webhook.replicas=0': /webhook\/replicas.*minimum/,
  'containerd.socket=run/containerd.sock': /containerd\/socket/,
  'mirror.extraArgs={zone}': /mirror\/extraArgs\/0/,
  'mirror.extraEnv[0].value=a': /mirror\/extraEnv\/0.*name/,
  'sidecar.extraArgs={--answer-tags}': /sidecar\/extraArgs\/0/,
  'mirror.ports.peer=99999': /mirror\/ports\/peer.*maximum/,
  'mirror.maxUnavailable=0%': /mirror\/maxUnavailable/,
  'image.digest=latest': /image\/digest/,
  'webhook.certManager.issuerRef.kind=ClusterIssuer': /webhook\/certManager\/issuerRef/,
  'metrics.dashboard.enabled=yes': /metrics\/dashboard\/enabled.*boolean/,
  'image.repository=registry.example/miroir:0.1.0': /image\.repository is ".*": write it without scheme, tag/,
  'image.repository=https://registry.example/miroir': /image\.repository is ".*": write it without scheme/,
  'registries={https://docker.io}': /registries has "https:\/\/docker\.io": write each as names of images begin/,
  'registries={docker.io/library}': /registries has "docker\.io\/library"/,
  'registries={docker.io,docker.io}': /registries.*equal/,
  'mirror.listenHost=::': /mirror\.listenHost is "::": .* in brackets/,
  'mirror.ports.swarm=29982': /mirror\.ports\.swarm is 29982, which another of mirror\.ports is/,
  'webhook.port=29984': /webhook\.port is 29984/,
})) {
  test(`refuses ${wrong} by its name`, async (t) => {
    await assert.rejects(renderChart([IMAGE, '--set', wrong], deadline(t.signal)), says);
  });
}

test('says what to do about an image that is not named', async (t) => {
  await assert.rejects(renderChart([], deadline(t.signal)), /image\.repository is not set/);
});

test('leaves the caBundle to the webhook', async (t) => {
  const manifests = await renderChart(FULL, deadline(t.signal));

  assert.ok(!JSON.stringify(manifests).includes('caBundle'));
});

test('agents in pods are what the values say, and need a webhook that puts them there', async (t) => {
  const signal = deadline(t.signal);
  const values = ['--set=sidecar.enabled=true,sidecar.extraArgs={--answer-tags=on},sidecar.resources.limits.cpu=1'];

  const text = JSON.stringify(await renderChart([IMAGE, ...values], signal));

  for (const flag of [
    '--sidecar-flags=--health-address=0.0.0.0:29984,--answer-tags=on',
    '--sidecar-resources=limits.cpu=1,limits.memory=256Mi,requests.cpu=5m,requests.memory=64Mi',
    '--sidecar-image=registry.example/miroir:0.1.0',
    '--pod-token-keys=miroir-pod-token-keys',
    '--pod-address=0.0.0.0:29986',
  ])
    assert.ok(text.includes(`"${flag}"`), flag);
  const byNobody = renderChart([IMAGE, ...values, '--set=webhook.enabled=false'], signal);
  await assert.rejects(byNobody, /nobody would put agents into pods/);
});

test('where the webhook makes the key every render is the same, and somebody has to make it', async (t) => {
  const byWebhook = [IMAGE, '--set=swarmKey.madeBy=webhook'];

  const [once, again] = [await renderChart(byWebhook, t.signal), await renderChart(byWebhook, t.signal)];

  assert.deepEqual(once, again);
  assert.ok(JSON.stringify(once).includes('--swarm-key-secret=miroir-swarm-key'));
  assert.ok(!once.some(({ kind, metadata }) => kind === 'Secret' && metadata.name === 'miroir-swarm-key'));
  const byNobody = renderChart([...byWebhook, '--set=webhook.enabled=false'], deadline(t.signal));
  await assert.rejects(byNobody, /nobody would make a key/);
});

test('alerts and the dashboard ask for metrics that exist', () => {
  const read = (file: string) => fs.readFileSync(path.join(CHART, file), 'utf8');
  const reference = read('../../docs/reference/metrics.md');
  const asked = [...(read('files/alerts.yaml') + read('files/dashboard.json')).matchAll(/miroir_\w+/g)];
  const names = new Set(asked.map(([name]) => name.replace(/_(bucket|sum|count)$/, '')));

  assert.ok(names.size > 10);
  assert.deepEqual(
    [...names].filter((name) => !reference.includes(`\`${name}\``)),
    [],
  );
});

test('a real apiserver takes all of it, and a release comes, goes on and goes', async (t) => {
  const signal = deadline(t.signal);
  const plane = await createControlPlane({}, signal);
  t.after(() => plane.down());
  const { call } = plane;
  const monitoring = ['servicemonitors', 'prometheusrules'];
  await installKinds(plane, await fetchMonitoringKinds(OPERATOR_VERSION, signal), signal, monitoring);
  await installKinds(plane, await fetchCertManagerKinds(CERT_MANAGER_VERSION, signal), signal);
  await call('POST', '/api/v1/namespaces', { metadata: { name: 'miroir' } });
  await call('POST', '/api/v1/namespaces', { metadata: { name: 'team', labels: { 'miroir.dev/mirror': 'enabled' } } });
  const before = await inventory(plane);

  await t.test('strictly: no field that it does not know', async () => {
    const certificates = [[], OWN_CERTIFICATES, CERT_MANAGER, [...CERT_MANAGER, ...OWN_ISSUER]];
    for (const values of certificates.map((some) => [...FULL, ...some])) {
      for (const manifest of await renderChart(values, signal)) {
        const { status, body, warnings } = await call(
          'POST',
          `${pathOf(manifest)}?dryRun=All&fieldValidation=Strict`,
          manifest,
        );
        assert.equal(status, 201, `${manifest.kind}: ${JSON.stringify(body)}`);
        assert.deepEqual(warnings, [], manifest.kind);
      }
    }
  });

  const release = (...args: string[]) =>
    helm([...args, '--namespace=miroir', `--kubeconfig=${plane.kubeconfig}`], signal);
  const secret = async (name: string) => (await call('GET', `/api/v1/namespaces/miroir/secrets/${name}`)).body;
  const configuration = '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/miroir';

  await t.test('an upgrade keeps the swarm key, the authority and the caBundle', async () => {
    await release('install', 'miroir', CHART, ...FULL);
    const {
      data: { 'swarm.key': key },
    } = await secret('miroir-swarm-key');
    assert.match(Buffer.from(key ?? '', 'base64').toString(), /^[0-9a-f]{64}\n$/);
    // What the webhook does.
    const merge = { contentType: 'application/merge-patch+json' };
    await call('PATCH', '/api/v1/namespaces/miroir/secrets/miroir-webhook-authority', { data: { a: 'Yg==' } }, merge);
    const { certificate } = await createAuthority('lab', validity(1));
    const webhooks = [
      { name: 'pod.miroir.dev', clientConfig: { caBundle: Buffer.from(certificate).toString('base64') } },
    ];
    const patched = await call(
      'PATCH',
      configuration,
      { webhooks },
      { contentType: 'application/strategic-merge-patch+json' },
    );
    assert.equal(patched.status, 200, JSON.stringify(patched.body));

    await release('upgrade', 'miroir', CHART, ...FULL, '--set=webhook.timeoutSeconds=2');

    assert.equal((await secret('miroir-swarm-key')).data['swarm.key'], key);
    assert.deepEqual((await secret('miroir-webhook-authority')).data, { a: 'Yg==' });
    const entries = (await call('GET', configuration)).body.webhooks as Entry[];
    const bundles = Object.fromEntries(
      entries.map(({ name, clientConfig }) => [name, clientConfig.caBundle !== undefined]),
    );
    assert.deepEqual(bundles, { 'namespace.miroir.dev': false, 'pod.miroir.dev': true });
    assert.deepEqual(
      entries.map(({ timeoutSeconds }) => timeoutSeconds),
      [2, 2],
    );
  });

  await t.test('who creates a pod past the webhook is warned, and the audit log says so', async () => {
    const create = async (labels: object, namespace = 'team', spec: object = {}) => {
      const pod = {
        metadata: { generateName: 'app-', labels },
        spec: { containers: [{ name: 'app', image: 'app' }], ...spec },
      };
      const { status, warnings } = await call('POST', `/api/v1/namespaces/${namespace}/pods`, pod);
      assert.equal(status, 201); // There is no webhook.
      return warnings.filter((warning) => warning.includes('miroir: the webhook was not asked'));
    };
    await until(async () => (await create({})).length === 1, signal); // A policy takes a moment to be enforced.

    assert.equal((await create({ 'miroir.dev/mirror': 'enabled' }, 'default')).length, 1);
    assert.deepEqual(await create({}, 'default'), []);
    assert.deepEqual(await create({ 'miroir.dev/mirror': 'disabled' }), []);
    assert.deepEqual(await create({}, 'team', { os: { name: 'windows' } }), []);
    assert.deepEqual(await create({}, 'team', { nodeName: 'n1' }), []);
    const audited = plane.audit().flatMap(({ annotations }) => Object.keys(annotations ?? {}));
    assert.ok(audited.includes('validation.policy.admission.k8s.io/validation_failure'), audited.join(' '));
  });

  await t.test('an uninstall leaves nothing', async () => {
    const jobs = '/apis/batch/v1/namespaces/miroir/jobs/miroir-uninstall';
    const gone = release('uninstall', 'miroir', '--wait');
    const job = async () => (await call('GET', jobs)).body;
    await until(async () => (await job()).kind === 'Job', signal);
    const [{ args }] = (await job()).spec.template.spec.containers;

    await run([...MIROIR, ...args, `--kubeconfig=${plane.kubeconfig}`], { title: 'miroir uninstall' }, signal);

    // There is nobody here who runs Jobs.
    const now = new Date().toISOString();
    const conditions = ['SuccessCriteriaMet', 'Complete'].map((type) => ({ type, status: 'True' }));
    const status = { startTime: now, completionTime: now, succeeded: 1, conditions };
    const merge = { contentType: 'application/merge-patch+json' };
    const done = await call('PATCH', `${jobs}/status`, { status }, merge);
    assert.equal(done.status, 200, JSON.stringify(done.body));
    await gone;
    assert.deepEqual(await inventory(plane), before);
  });
});

interface Entry {
  readonly name: string;
  readonly timeoutSeconds: number;
  readonly clientConfig: { readonly caBundle?: string };
}

/** Names of everything that a release could leave. */
async function inventory({ call }: ControlPlane): Promise<readonly string[]> {
  const paths = [
    ...['secrets', 'configmaps', 'services', 'serviceaccounts'].map((kind) => `/api/v1/namespaces/miroir/${kind}`),
    ...['daemonsets', 'deployments'].map((kind) => `/apis/apps/v1/namespaces/miroir/${kind}`),
    '/apis/coordination.k8s.io/v1/namespaces/miroir/leases',
    '/apis/policy/v1/namespaces/miroir/poddisruptionbudgets',
    '/apis/networking.k8s.io/v1/namespaces/miroir/networkpolicies',
    '/apis/monitoring.coreos.com/v1/servicemonitors',
    '/apis/monitoring.coreos.com/v1/prometheusrules',
    ...['roles', 'rolebindings'].map((kind) => `/apis/rbac.authorization.k8s.io/v1/namespaces/miroir/${kind}`),
    ...['clusterroles', 'clusterrolebindings'].map((kind) => `/apis/rbac.authorization.k8s.io/v1/${kind}`),
    ...['mutatingwebhookconfigurations', 'validatingadmissionpolicies', 'validatingadmissionpolicybindings'].map(
      (kind) => `/apis/admissionregistration.k8s.io/v1/${kind}`,
    ),
  ];
  const lists = await Promise.all(
    paths.map(async (path) => {
      const { status, body } = await call<KubeList<Manifest>>('GET', path);
      assert.equal(status, 200, path);
      return body.items.map(({ metadata }) => `${path}/${metadata.name}`);
    }),
  );
  return lists.flat().toSorted();
}
