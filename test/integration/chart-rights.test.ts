/** What the chart lets the webhook do, and which Secrets it is given: no more than the guide explains. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { type Manifest, renderChart } from '../lab/cluster/helm.ts';
import { documentedRules, type Rule, WITH_CERT_MANAGER, WITH_SIDECARS } from './webhook-rights.ts';

const IMAGE = '--set=image.repository=registry.example/miroir';
const CERT_MANAGER = ['--set=webhook.certManager.enabled=true'];
const DEADLINE_MS = 60_000;

for (const isWithSidecars of [false, true]) {
  test(`the webhook has the rights that the guide explains, and no other, with sidecars: ${isWithSidecars}`, async (t) => {
    const manifests = await renderChart(
      [IMAGE, `--set=sidecar.enabled=${isWithSidecars}`],
      AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]),
    );

    for (const [kind, headings] of [
      ['ClusterRole', ['In the whole cluster:']],
      ['Role', ['In its own namespace:', ...(isWithSidecars ? [WITH_SIDECARS] : [])]],
    ] as const) {
      const role = manifests.find((manifest) => manifest.kind === kind) as
        | (Manifest & { rules: readonly Rule[] })
        | undefined;
      assert.deepEqual(flat(role?.rules), flat(headings.flatMap(documentedRules)));
    }
  });
}

test('with cert-manager the webhook may read no Secret, and an uninstall deletes those that cert-manager would leave', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);

  const manifests = await renderChart([IMAGE, ...CERT_MANAGER], signal);

  const own = documentedRules('In its own namespace:').filter(({ resources }) => !resources.includes('secrets'));
  const role = manifests.find(({ kind }) => kind === 'Role') as Manifest & { rules: readonly Rule[] };
  assert.deepEqual(flat(role.rules), flat([...own, ...documentedRules(WITH_CERT_MANAGER)]));
  assert.ok(!manifests.some(({ kind, metadata }) => kind === 'Secret' && metadata.name.endsWith('-authority')));
  const isCertificate = (manifest: Manifest): manifest is Certificate => manifest.kind === 'Certificate';
  assert.deepEqual(
    manifests
      .filter(isCertificate)
      .map(({ metadata, spec }) => `${metadata.name} in ${spec.secretName}`)
      .toSorted(),
    ['miroir-webhook-tls', 'miroir-webhook-tls-authority'].map((name) => `${name} in ${name}`),
  );
  assert.ok(JSON.stringify(manifests).includes('"--certificates=miroir-webhook-tls,miroir-webhook-tls-authority"'));
  const text = JSON.stringify(
    await renderChart([IMAGE, ...CERT_MANAGER, '--set=webhook.certManager.issuerRef.name=ours'], signal),
  );
  assert.ok(text.includes('"--certificates=miroir-webhook-tls"'));
  assert.ok(!text.includes('-authority'));
  const twice = renderChart([IMAGE, ...CERT_MANAGER, '--set=webhook.tlsSecret=tls'], signal);
  await assert.rejects(twice, /only one can see to the certificate/);
});

function flat(rules: readonly Rule[] = []): readonly string[] {
  return rules.map(({ apiGroups, resources, verbs }) => [...apiGroups, ...resources, ...verbs].join(' ')).toSorted();
}

interface Certificate extends Manifest {
  readonly spec: { readonly secretName: string };
}
