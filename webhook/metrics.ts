import { Counter, collectDefaultMetrics, Gauge, Histogram, type Registry as MetricsRegistry } from 'prom-client';
import type { AdmissionMetrics } from './admission/app.ts';
import { FAIL_REASONS, SIDECARS_APPLIED } from './decision.ts';

/** Around the 5 ms that a review may take. */
const SECONDS_BUCKETS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5];

export interface WebhookMetrics extends AdmissionMetrics {
  /** Of the certificate that is served now. */
  certificateExpires(at: Date): void;
  rotated(step: string): void;
}

/** What the webhook decided, how long it took, and the process's own figures. */
export function createWebhookMetrics(registry: MetricsRegistry): WebhookMetrics {
  const registers = [registry];
  collectDefaultMetrics({ register: registry });
  const admissions = new Counter({
    name: 'miroir_admissions_total',
    help: 'Reviews answered, by outcome (admitted, skipped, failed) and word (the gate, or the reason).',
    labelNames: ['outcome', 'word'],
    registers,
  });
  // A counter that begins with 1 has not increased, by Prometheus: nobody would be told of the first.
  for (const word of FAIL_REASONS) admissions.inc({ outcome: 'failed', word }, 0);
  const sidecars = new Counter({
    name: 'miroir_sidecars_total',
    help: 'Pods that asked for an agent, by what was made of it.',
    labelNames: ['word'],
    registers,
  });
  for (const word of SIDECARS_APPLIED) sidecars.inc({ word }, 0);
  const seconds = new Histogram({
    name: 'miroir_admission_seconds',
    help: 'From a whole review to its answer.',
    buckets: SECONDS_BUCKETS,
    registers,
  });
  const expiry = new Gauge({
    name: 'miroir_webhook_certificate_expiry_timestamp_seconds',
    help: 'When the certificate that the apiserver gets to see expires, in seconds since 1970.',
    registers,
  });
  const steps = new Counter({
    name: 'miroir_webhook_certificate_steps_total',
    help: 'Steps taken to keep the certificate, by step.',
    labelNames: ['step'],
    registers,
  });
  return {
    reviewed: (decision, duration) => {
      const word = decision.outcome === 'admitted' ? decision.gate : decision.reason;
      admissions.inc({ outcome: decision.outcome, word });
      if (decision.outcome === 'admitted' && decision.sidecar) sidecars.inc({ word: decision.sidecar });
      seconds.observe(duration);
    },
    certificateExpires: (at) => expiry.set(at.getTime() / 1000),
    rotated: (step) => steps.inc({ step }),
  };
}
