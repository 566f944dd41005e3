import type { Logger } from '../../common/log.ts';
import type { KubeClient } from '../kube/client.ts';

/** What an Event is about: https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/. */
export interface Subject {
  readonly apiVersion: 'v1';
  readonly kind: 'Node' | 'Pod' | 'Namespace';
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
}

export interface EventText {
  readonly type: 'Normal' | 'Warning';
  /** One of the words of decision.ts. */
  readonly reason: string;
  readonly message: string;
}

/** Tells people of what was decided, where they look for it. It is told once, or not at all: nothing waits for it. */
export type RecordEvent = (subject: Subject, text: EventText, signal: AbortSignal) => Promise<void>;

/** The apiserver's own limit for it. */
const MESSAGE_CHARS_MAX = 1024;

export function createEventRecorder(client: Pick<KubeClient, 'call'>, log: Pick<Logger, 'warn'>): RecordEvent {
  return async (subject, { type, reason, message }, signal) => {
    // Those of what has no namespace go where kubectl describe looks for them.
    const namespace = subject.kind === 'Namespace' ? subject.name : (subject.namespace ?? 'default');
    const now = new Date().toISOString().replace(/\.\d+/, '');
    const body = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: { generateName: 'miroir-', namespace },
      involvedObject: { ...subject, namespace },
      type,
      reason,
      message: message.slice(0, MESSAGE_CHARS_MAX),
      source: { component: 'miroir' },
      firstTimestamp: now,
      lastTimestamp: now,
      count: 1,
    };
    try {
      await client.call({ method: 'POST', path: `/api/v1/namespaces/${namespace}/events`, body }, signal);
    } catch (error) {
      if (!signal.aborted) log.warn('An Event could not be written', { about: subject.name, reason, error });
    }
  };
}
