import fs from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { type CertificateAndKey, createAuthority, issueLeaf } from '../../certs/authority.ts';
import { startChildProgram } from '../lab/cluster/child-program.ts';
import { type ControlPlane, type ControlPlaneOptions, createControlPlane } from '../lab/cluster/control-plane.ts';
import type { KubeAnswer } from '../lab/cluster/kube-call.ts';
import type { KubeObject } from '../lab/cluster/kube-object.ts';
import { LabError } from '../lab/lab-error.ts';
import { type Program, until } from '../lab/namespace.ts';
import { grantDocumentedRights } from './webhook-rights.ts';

const MIROIR = path.join(import.meta.dirname, '..', '..', 'cli', 'main.ts');
export const NAMESPACE = 'miroir';
export const SERVICE = 'miroir-webhook';
export const CONFIGURATION = 'miroir';
/** On the address of the control plane, which is no other's; each with room for replicas. */
export const WEBHOOK_PORT = 29_100;
export const HEALTH_PORT = 29_200;
const START_MS = 60_000;
const DAY_MS = 86_400_000;

/** Opted in, and not. */
export const TEAM = 'team';
export const STRANGER = 'stranger';

export interface WebhookCluster {
  readonly plane: ControlPlane;
  /** Of who may do what the guide says that the webhook must. */
  readonly kubeconfig: string;
  /** Starts `miroir webhook`; resolves when it is ready. The apiserver knows of the first replica alone, number 0. */
  startWebhook(replica?: number, flags?: readonly string[]): Promise<Program>;
  /** Puts another certificate into the files that a webhook serves. */
  useCertificate(certificate: CertificateAndKey): void;
  readonly authority: CertificateAndKey;
  createPod<T = KubeObject>(
    pod: object,
    options?: { readonly namespace?: string; readonly query?: string },
  ): Promise<KubeAnswer<T>>;
}

export interface WebhookClusterOptions extends ControlPlaneOptions {
  /** Whose certificate is served: from files, signed by whom the apiserver trusts, or the webhook sees to it by itself. */
  readonly certificates?: 'files' | 'own';
  /** Miroir, where it is not to run from its sources. */
  readonly program?: readonly string[];
}

/** A control plane with Miroir's webhook configured, which is not running yet. */
export async function createWebhookCluster(
  t: Pick<TestContext, 'signal' | 'after'>,
  { certificates = 'files', program = [process.execPath, MIROIR], ...options }: WebhookClusterOptions = {},
): Promise<WebhookCluster> {
  const plane = await createControlPlane(options, t.signal);
  t.after(() => plane.down());
  const authority = await createAuthority('lab', validity(1));
  const file = (name: string) => path.join(plane.folder, name);
  const useCertificate = ({ certificate, key }: CertificateAndKey) => {
    fs.writeFileSync(file('tls.crt'), certificate);
    fs.writeFileSync(file('tls.key'), key);
  };
  useCertificate(await issueLeaf(authority, [`${SERVICE}.${NAMESPACE}.svc`], validity(1)));
  await create(plane, '/api/v1/namespaces', { metadata: { name: NAMESPACE } });
  await create(plane, '/api/v1/namespaces', { metadata: { name: TEAM, labels: { 'miroir.dev/mirror': 'enabled' } } });
  await create(plane, '/api/v1/namespaces', { metadata: { name: STRANGER } });
  await create(plane, `/api/v1/namespaces/${NAMESPACE}/services`, {
    metadata: { name: SERVICE },
    // There are no pods here: the apiserver goes where the webhook listens.
    spec: { type: 'ExternalName', externalName: plane.address },
  });
  await create(plane, '/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations', {
    metadata: { name: CONFIGURATION },
    webhooks: webhooks(WEBHOOK_PORT, certificates === 'files' ? authority.certificate : ''),
  });
  const kubeconfig = await grantDocumentedRights(plane, NAMESPACE);
  return {
    plane,
    kubeconfig,
    authority,
    useCertificate,
    startWebhook: async (replica = 0, more = []) => {
      const health = `${plane.address}:${HEALTH_PORT + replica}`;
      const flags = [
        `--kubeconfig=${kubeconfig}`,
        `--namespace=${NAMESPACE}`,
        `--webhook-address=${plane.address}:${WEBHOOK_PORT + replica}`,
        `--health-address=${health}`,
        ...(certificates === 'files'
          ? [`--tls-certificate-file=${file('tls.crt')}`, `--tls-key-file=${file('tls.key')}`]
          : []),
        ...more,
      ];
      const webhook = startChildProgram([...program, 'webhook', ...flags], file(`webhook-${replica}.log`));
      t.after(() => webhook.stop('SIGKILL'));
      const ready = () =>
        fetch(`http://${health}/readyz`).then(
          ({ ok }) => ok,
          () => false,
        );
      await until(
        () => {
          if (webhook.isRunning()) return ready();
          throw new LabError('ERR_LAB_PROGRAM_ENDED', `the webhook ended: ${webhook.logTail()}`);
        },
        AbortSignal.any([t.signal, AbortSignal.timeout(START_MS)]),
        () => `the webhook is not ready: ${webhook.logTail()}`,
      );
      return webhook;
    },
    createPod: (pod, { namespace = TEAM, query = '' } = {}) =>
      plane.call('POST', `/api/v1/namespaces/${namespace}/pods${query}`, pod),
  };
}

export function validity(days: number) {
  return { from: new Date(Date.now() - DAY_MS), to: new Date(Date.now() + days * DAY_MS) };
}

async function create(plane: ControlPlane, path: string, object: object): Promise<void> {
  const { status, body } = await plane.call('POST', path, object);
  if (status !== 201) throw new LabError('ERR_LAB_COMMAND_FAILED', `POST ${path}: ${status} ${JSON.stringify(body)}`);
}

/** Two, of which one at most is asked about a pod: selectors are all true or none. */
function webhooks(port: number, caBundle: string): readonly object[] {
  const shared = {
    clientConfig: {
      service: { namespace: NAMESPACE, name: SERVICE, path: '/mutate-pods', port },
      caBundle: Buffer.from(caBundle).toString('base64'),
    },
    rules: [{ apiGroups: [''], apiVersions: ['v1'], resources: ['pods'], operations: ['CREATE'], scope: 'Namespaced' }],
    admissionReviewVersions: ['v1'],
    sideEffects: 'None',
    failurePolicy: 'Ignore',
    reinvocationPolicy: 'IfNeeded',
    timeoutSeconds: 3,
  };
  const notOurs = { key: 'kubernetes.io/metadata.name', operator: 'NotIn', values: ['kube-system', NAMESPACE] };
  const label = 'miroir.dev/mirror';
  const is = (operator: string, value: string) => ({ key: label, operator, values: [value] });
  return [
    {
      name: 'namespace.miroir.dev',
      namespaceSelector: { matchExpressions: [notOurs, is('In', 'enabled')] },
      objectSelector: { matchExpressions: [is('NotIn', 'disabled')] },
      ...shared,
    },
    {
      name: 'pod.miroir.dev',
      namespaceSelector: { matchExpressions: [notOurs, is('NotIn', 'enabled')] },
      objectSelector: { matchExpressions: [is('In', 'enabled')] },
      ...shared,
    },
  ];
}
