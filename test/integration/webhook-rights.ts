import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import type { ControlPlane } from '../lab/cluster/control-plane.ts';

const GUIDE = path.join(import.meta.dirname, '..', '..', 'docs', 'guides', 'gate.md');
const ROLES = '/apis/rbac.authorization.k8s.io/v1';

export const WITH_CERT_MANAGER = 'With `webhook.certManager.enabled`, in its own namespace, and no Secrets but these:';
export const WITH_SIDECARS = 'With `sidecar.enabled`, in its own namespace:';

export interface Rule {
  readonly apiGroups: readonly string[];
  readonly resources: readonly string[];
  readonly verbs: readonly string[];
}

/** The rules of one table of the guide, as a chart would write them. */
export function documentedRules(heading: string): readonly Rule[] {
  const text = fs.readFileSync(GUIDE, 'utf8');
  const [, table] = new RegExp(`${heading}\\n\\n((?:\\|.*\\n)+)`).exec(text) ?? [];
  assert.ok(table, `${GUIDE} has no table of rights after "${heading}"`);
  const rows = table.trim().split('\n').slice(2);
  return rows.map((row) => {
    const [, group = '', resource = '', verbs = ''] = row.split('|').map((cell) => cell.trim());
    return {
      apiGroups: [group.replaceAll('`', '')],
      resources: [/`([^`]+)`/.exec(resource)?.[1] ?? assert.fail(row)],
      verbs: verbs.split(', '),
    };
  });
}

/** A kubeconfig of a service account that may do what the guide says, and nothing else. */
export async function grantDocumentedRights(plane: ControlPlane, namespace: string): Promise<string> {
  const name = 'miroir-webhook';
  const create = async (at: string, body: object) => {
    const answer = await plane.call('POST', at, body);
    assert.equal(answer.status, 201, JSON.stringify(answer.body));
    return answer.body;
  };
  const subjects = [{ kind: 'ServiceAccount', name, namespace }];
  const roleRef = (kind: string) => ({ apiGroup: 'rbac.authorization.k8s.io', kind, name });
  const metadata = { name };
  await create(`/api/v1/namespaces/${namespace}/serviceaccounts`, { metadata });
  await create(`${ROLES}/clusterroles`, { metadata, rules: documentedRules('In the whole cluster:') });
  await create(`${ROLES}/clusterrolebindings`, { metadata, subjects, roleRef: roleRef('ClusterRole') });
  const own = `${ROLES}/namespaces/${namespace}`;
  const rules = [...documentedRules('In its own namespace:'), ...documentedRules(WITH_SIDECARS)];
  await create(`${own}/roles`, { metadata, rules });
  await create(`${own}/rolebindings`, { metadata, subjects, roleRef: roleRef('Role') });
  const { status } = await create(`/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`, {
    spec: { expirationSeconds: 3600 },
  });
  const config = JSON.parse(fs.readFileSync(plane.kubeconfig, 'utf8'));
  config.users[0].user.token = status.token;
  const file = path.join(plane.folder, 'webhook.kubeconfig');
  fs.writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
  return file;
}

/** Takes a right away that the webhook has in the whole cluster. */
export async function withhold(plane: ControlPlane, resource: string, verb: string): Promise<void> {
  const at = `${ROLES}/clusterroles/miroir-webhook`;
  const { body } = await plane.call('GET', at);
  const rules = (body.rules as Rule[]).map((rule) =>
    rule.resources.includes(resource) ? { ...rule, verbs: rule.verbs.filter((one) => one !== verb) } : rule,
  );
  const { status } = await plane.call('PUT', at, { ...body, rules });
  assert.equal(status, 200);
}
