import { Registry as MetricsRegistry } from 'prom-client';
import type { HostPort } from '../common/host-port.ts';
import { createHealthApp } from '../common/http/health-app.ts';
import { listen } from '../common/http/listen.ts';
import type { Component } from '../common/lifecycle.ts';
import type { Logger } from '../common/log.ts';
import { type AdmissionServer, createAdmissionServer } from './admission/server.ts';
import { createKubeClient } from './kube/client.ts';
import { createNamespaces } from './kube/namespaces.ts';
import { createWebhookMetrics } from './metrics.ts';
import { createTlsFiles } from './tls-files.ts';

export interface WebhookOptions {
  readonly version: string;
  readonly webhookAddress: HostPort;
  readonly healthAddress: HostPort;
  /** A file; undefined for the service account of the pod. */
  readonly kubeconfig: string | undefined;
  /** Undefined for that of the credentials. */
  readonly namespace: string | undefined;
  readonly tlsCertificateFile: string;
  readonly tlsKeyFile: string;
}

/** Endpoints without us reach every apiserver within this; Miroir has 10 s to stop. */
const DRAIN_MS = 5_000;
/** Nothing lifts a scheduling gate: a pod that waits would wait for ever. */
const NO_WAITING = 'miroir: gate mode wait is not there yet, the pod prefers compatible nodes instead';

/** Admission and what it needs: built here, started from the bottom up, stopped from the top down. */
export function createWebhook({ log }: { readonly log: Logger }, options: WebhookOptions): Component {
  const started: Component[] = [];

  async function stop(): Promise<void> {
    for (const component of started.splice(0).toReversed()) {
      try {
        await component.stop();
      } catch (error) {
        log.warn('A part of the webhook did not stop cleanly', { error });
      }
    }
  }

  return {
    start: async (signal) => {
      try {
        for (const component of buildParts(log, options)) {
          await component.start(signal);
          started.push(component);
        }
        log.info('Webhook started', { version: options.version });
      } catch (error) {
        await stop();
        throw error;
      }
    },
    stop,
  };
}

/** The webhook's parts in the order to start them. */
function buildParts(log: Logger, options: WebhookOptions): readonly Component[] {
  const metrics = new MetricsRegistry();
  const webhookMetrics = createWebhookMetrics(metrics);
  const client = createKubeClient({ kubeconfig: options.kubeconfig });
  const namespaces = createNamespaces({ client, log, random: Math.random });
  const ownNamespace = options.namespace ?? client.namespace;
  const bypass = { block: undefined, require: undefined, wait: NO_WAITING };
  const admission = createAdmissionServer(
    {
      findNamespace: (name, signal) => namespaces.find(name, signal),
      context: () => ({ version: options.version, ownNamespace, bypass }),
      metrics: webhookMetrics,
      log,
    },
    { address: options.webhookAddress, drainMs: DRAIN_MS },
  );
  const tlsFiles = createTlsFiles(
    {
      log,
      use: (certificate, leaf) => {
        admission.useCertificate(certificate);
        webhookMetrics.certificateExpires(leaf.validToDate);
      },
    },
    { certificateFile: options.tlsCertificateFile, keyFile: options.tlsKeyFile },
  );
  const health = createHealthApp({ metrics, pages: {}, checks: readinessChecks(admission, namespaces) });
  return [
    { start: async () => {}, stop: async () => client.close() },
    {
      start: async () => {
        await health.ready();
        await listen(health.server, options.healthAddress);
      },
      stop: () => health.close(),
    },
    namespaces,
    tlsFiles,
    admission,
  ];
}

function readinessChecks(admission: AdmissionServer, namespaces: { isSynced(): boolean }) {
  return [
    { name: 'namespaces', missing: () => (namespaces.isSynced() ? undefined : 'not listed yet') },
    { name: 'admission', missing: () => (admission.isServing() ? undefined : 'not taking reviews') },
  ];
}
