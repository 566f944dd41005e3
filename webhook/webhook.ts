import { Registry as MetricsRegistry } from 'prom-client';
import type { CertificateAndKey } from '../certs/authority.ts';
import { createCertificateKeeper } from '../certs/certificate-keeper.ts';
import type { RotationTimes } from '../certs/rotation.ts';
import { MiroirError } from '../common/errors.ts';
import type { HostPort } from '../common/host-port.ts';
import { createHealthApp } from '../common/http/health-app.ts';
import { listen } from '../common/http/listen.ts';
import { type Component, closing, createAssembly } from '../common/lifecycle.ts';
import type { Logger } from '../common/log.ts';
import { type AdmissionServer, createAdmissionServer } from './admission/server.ts';
import type { SidecarOptions } from './admission/sidecar.ts';
import { createGate, type Gate, type GateOptions } from './gate/gate.ts';
import { createGateMetrics } from './gate/metrics.ts';
import { createKubeClient, type KubeClient } from './kube/client.ts';
import { createNamespaces, type Namespaces } from './kube/namespaces.ts';
import { createPodTokenKeys } from './kube/pod-token-keys.ts';
import { createSecretStore } from './kube/secret-store.ts';
import { createSwarmKeySecret } from './kube/swarm-key-secret.ts';
import { createTrustStore } from './kube/trust-store.ts';
import { createWebhookMetrics, type WebhookMetrics } from './metrics.ts';
import { createTlsFiles } from './tls-files.ts';

export interface WebhookDeps {
  readonly log: Logger;
  /** 0 to 1. */
  readonly random: () => number;
}

export interface WebhookOptions {
  readonly version: string;
  readonly webhookAddress: HostPort;
  readonly healthAddress: HostPort;
  /** A file; undefined for the service account of the pod. */
  readonly kubeconfig: string | undefined;
  /** Undefined for that of the credentials. */
  readonly namespace: string | undefined;
  /** To be made with a new key when it is not there; undefined when that is not our business. */
  readonly swarmKeySecret: string | undefined;
  /** A ConfigMap to keep the keys of the cluster's tokens in; undefined when mirrors serve no pods. */
  readonly podTokenKeys: string | undefined;
  /** The agent for pods that ask for one; undefined: there is none to be had. */
  readonly sidecar: SidecarOptions | undefined;
  readonly gate: Omit<GateOptions, 'namespace'>;
  readonly certificates:
    | { readonly kind: 'files'; readonly certificateFile: string; readonly keyFile: string }
    | {
        readonly kind: 'own';
        readonly service: string;
        readonly configuration: string;
        readonly secret: string;
        readonly times: RotationTimes;
        /** Between two looks at what other replicas did. */
        readonly intervalMs: number;
      };
}

/** Endpoints without us reach every apiserver within this; Miroir has 10 s to stop. */
const DRAIN_MS = 5_000;

/** Admission and what it needs: built here, started from the bottom up, stopped from the top down. */
export function createWebhook({ log, random }: WebhookDeps, options: WebhookOptions): Component {
  return createAssembly({ log }, async function* () {
    yield* buildParts({ log, random }, options);
    log.info('Webhook started', { version: options.version });
  });
}

/** The webhook's parts in the order to start them. */
function buildParts({ log, random }: WebhookDeps, options: WebhookOptions): readonly Component[] {
  const { swarmKeySecret, podTokenKeys } = options;
  const metrics = new MetricsRegistry();
  const webhookMetrics = createWebhookMetrics(metrics);
  const client = createKubeClient({ kubeconfig: options.kubeconfig });
  const namespaces = createNamespaces({ client, log, random });
  const ownNamespace = options.namespace ?? client.namespace;
  if (ownNamespace === undefined) {
    client.close();
    throw new MiroirError('ERR_KUBE_CONFIG_INVALID', 'the credentials tell no namespace: name it with --namespace');
  }
  const gate = createGate(
    { client, log, random, metrics: createGateMetrics(metrics), isOptedIn: (name) => namespaces.isOptedIn(name) },
    { ...options.gate, namespace: ownNamespace },
  );
  const admission = createAdmissionServer(
    {
      findNamespace: (name, signal) => namespaces.find(name, signal),
      context: () => ({ version: options.version, ownNamespace, bypass: gate.bypass(), sidecar: options.sidecar }),
      metrics: webhookMetrics,
      log,
    },
    { address: options.webhookAddress, drainMs: DRAIN_MS },
  );
  const certificates = createCertificates({ log, client, admission, metrics: webhookMetrics }, options, ownNamespace);
  const health = createHealthApp({ metrics, pages: {}, checks: readinessChecks(admission, namespaces, gate) });
  return [
    closing(() => client.close()),
    {
      start: async () => {
        await health.ready();
        await listen(health.server, options.healthAddress);
      },
      stop: () => health.close(),
    },
    ...(swarmKeySecret === undefined
      ? []
      : [createSwarmKeySecret({ client, log, random }, { namespace: ownNamespace, name: swarmKeySecret })]),
    ...(podTokenKeys === undefined
      ? []
      : [createPodTokenKeys({ client, log, random }, { namespace: ownNamespace, name: podTokenKeys })]),
    namespaces,
    gate,
    certificates,
    admission,
  ];
}

interface CertificatesDeps {
  readonly log: Logger;
  readonly client: KubeClient;
  readonly admission: AdmissionServer;
  readonly metrics: WebhookMetrics;
}

function createCertificates(
  { log, client, admission, metrics }: CertificatesDeps,
  { certificates }: WebhookOptions,
  namespace: string,
): Component {
  const use = (pair: CertificateAndKey, expires: Date) => {
    admission.useCertificate(pair);
    metrics.certificateExpires(expires);
  };
  if (certificates.kind === 'files') return createTlsFiles({ log, use }, certificates);
  const { service, configuration, secret, times, intervalMs } = certificates;
  const deps = {
    secret: createSecretStore(client, { namespace, name: secret }),
    trust: createTrustStore(client, configuration),
    now: () => new Date(),
    log,
    use,
    metrics,
  };
  const dnsNames = [`${service}.${namespace}.svc`, `${service}.${namespace}.svc.cluster.local`];
  return createCertificateKeeper(deps, { dnsNames, times, intervalMs });
}

function readinessChecks(admission: AdmissionServer, namespaces: Pick<Namespaces, 'isSynced'>, gate: Gate) {
  return [
    { name: 'nodes', missing: () => (gate.isSynced() ? undefined : 'not listed yet') },
    { name: 'namespaces', missing: () => (namespaces.isSynced() ? undefined : 'not listed yet') },
    { name: 'admission', missing: () => (admission.isServing() ? undefined : 'not taking reviews') },
  ];
}
