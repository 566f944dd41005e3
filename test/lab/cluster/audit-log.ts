import fs from 'node:fs';

/** What tests read of https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/#audit-k8s-io-v1-Event. */
export interface AuditEvent {
  readonly auditID: string;
  readonly verb: string;
  readonly requestURI: string;
  readonly objectRef?: { readonly resource: string; readonly namespace?: string; readonly name?: string };
  readonly responseStatus?: { readonly code: number };
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Every request for pods and for what admission is configured with, once it is answered; no bodies. */
export const AUDIT_POLICY = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived', 'ResponseStarted'],
  rules: [
    { level: 'None', verbs: ['get', 'list', 'watch'] },
    { level: 'Metadata', resources: [{ group: '', resources: ['pods', 'secrets', 'namespaces', 'nodes'] }] },
    { level: 'Metadata', resources: [{ group: 'admissionregistration.k8s.io' }] },
    { level: 'None' },
  ],
};

export function readAuditLog(file: string): readonly AuditEvent[] {
  if (!fs.existsSync(file)) return [];
  const lines = fs.readFileSync(file, 'utf8').split('\n').slice(0, -1); // After the last newline a line may be unfinished.
  return lines.map((line) => JSON.parse(line) as AuditEvent);
}
