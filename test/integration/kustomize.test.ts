/** The kustomization: what a real Kustomize makes of it. */
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { parseAllDocuments } from 'yaml';
import { byName, CHART, type Manifest, renderChart } from '../lab/cluster/helm.ts';
import { fetchSchemas, problemsOf } from '../lab/cluster/kubernetes-schemas.ts';
import { run } from '../lab/namespace.ts';
import { findBuilt } from '../lab/programs.ts';

const FOLDER = path.dirname(CHART);
const DEADLINE_MS = 60_000;

test('kustomize makes of it what helm makes of the chart, and a namespace for it', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const kustomize = path.join(findBuilt('kustomize'), 'kustomize');
  const helm = path.join(findBuilt('helm'), 'helm');

  const { stdout } = await run(
    [kustomize, 'build', '--enable-helm', `--helm-command=${helm}`, FOLDER],
    { title: 'kustomize build' },
    signal,
  );

  const built = parseAllDocuments(stdout).map((document) => document.toJS() as Manifest);
  const namespaces = built.filter(({ kind }) => kind === 'Namespace').map(({ metadata }) => metadata.name);
  assert.deepEqual(namespaces, ['miroir']);
  const values = ['--set=image.repository=registry.example/miroir', '--set=swarmKey.existingSecret=swarm-key'];
  const rendered = await renderChart([...values, '--skip-tests'], signal);
  assert.ok(rendered.length > 10);
  assert.deepEqual(byName(built.filter(({ kind }) => kind !== 'Namespace')), byName(rendered));
  const schemas = await fetchSchemas('1.36.3', signal);
  assert.deepEqual(
    built.flatMap((manifest) => problemsOf(manifest, schemas)),
    [],
  );
});
