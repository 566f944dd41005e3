import { Counter, type Registry as MetricsRegistry } from 'prom-client';

export interface AccessMetrics {
  readonly questions: Counter<'credentials' | 'outcome'>;
  readonly unproved: Counter;
}

export function createAccessMetrics(registry: MetricsRegistry): AccessMetrics {
  const registers = [registry];
  return {
    questions: new Counter({
      name: 'miroir_access_questions_total',
      help: 'Questions to registries of who may read what, by credentials (none, basic) and outcome (public, allowed, denied, absent, unavailable, shed).',
      labelNames: ['credentials', 'outcome'],
      registers,
    }),
    unproved: new Counter({
      name: 'miroir_access_unproved_total',
      help: 'Requests that were served without a proof because the registry could not be asked.',
      registers,
    }),
  };
}
