/**
 * What the guides tell people to do with a cluster, as it is written there. Miroir's own image is in a registry that it mirrors
 * and that wants a pull secret.
 */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { ROOT } from '../documented/read-commands.ts';
import { documentedAt } from '../documented/run-documented.ts';
import { createCluster } from '../lab/cluster/cluster.ts';
import { run, until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import { MIROIR } from '../lab/node-mirror.ts';
import { findBuilt } from '../lab/programs.ts';
import { certsOf, NAMESPACE, pushMiroir } from './installed-cluster.ts';

const DEADLINE_MS = 8 * 60_000;
const AUTH = { username: 'lab', password: 'secret' };

test('a release is installed, used and uninstalled by the commands of the guides', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const cluster = await createCluster({ nodes: ['2.4', '1.6.20'] }, signal);
  t.after(() => cluster.down());
  const { lab, plane } = cluster;
  await pushMiroir(lab, signal);
  const certsBefore = certsOf(lab.nodes);
  const bin = fs.mkdtempSync(path.join(os.tmpdir(), 'documented-'));
  t.after(() => fs.rmSync(bin, { recursive: true }));
  fs.writeFileSync(path.join(bin, 'miroir'), `#!/bin/sh\nexec ${MIROIR.join(' ')} "$@"\n`, { mode: 0o755 });
  const folders = [bin, ...['kubernetes', 'helm', 'kustomize'].map(findBuilt), process.env['PATH']];
  const env = { PATH: folders.join(':'), KUBECONFIG: plane.kubeconfig };
  const bash = (script: string) =>
    run(['bash', '-o', 'pipefail', '-c', `cd ${ROOT} && ${script}`], { title: script, env }, signal);
  const place = { bash, with: { '/usr/local/bin': bin, 'registry.example': lab.upstream.host } };

  await bash(
    `kubectl create namespace ${NAMESPACE} && kubectl create secret docker-registry pull -n ${NAMESPACE} --docker-server=${lab.upstream.host} --docker-username=${AUTH.username} --docker-password=${AUTH.password}`,
  );
  await lab.upstream.lock('token');
  for (const { command, run: runIt } of documentedAt('install', place)) await t.test(command, runIt);

  await t.test('what the chart says after an install can be done', async () => {
    const { stdout: notes } = await bash(`kubectl create namespace noted && helm get notes miroir -n ${NAMESPACE}`);
    const commands = [...notes.matchAll(/^ {2}(kubectl .*)$/gm)].map(([, command]) => command as string);

    assert.ok(commands.length > 1);
    for (const command of commands) await bash(command.replace('NAMESPACE', 'noted'));
  });

  await t.test("Miroir's own image comes through Miroir, with its pull secret", async () => {
    const [, node] = lab.nodes as readonly [LabNode, LabNode];
    const image = `${lab.upstream.host}/miroir:0.1.0`;
    await node.removeImage(image, signal);
    await lab.upstream.resetStats();
    const before = await blobsOfPeers(node);

    // Pulled, its layers would not be asked for: mirror and webhook hold them unpacked.
    const fetch = [
      'ctr',
      'content',
      'fetch',
      '--hosts-dir=/etc/containerd/certs.d',
      `--user=${AUTH.username}:${AUTH.password}`,
    ];
    await node.exec([...fetch, image], {}, signal);

    assert.equal((await blobsOfPeers(node)) - before, 3); // Its configuration and two layers.
    const { manifestGets, blobGets } = await lab.upstream.stats();
    assert.deepEqual({ manifestGets, blobGets }, { manifestGets: 0, blobGets: 0 });
  });

  await lab.upstream.lock(undefined);
  const app = await lab.upstream.push('team/app:v1', { seed: 'app', layers: [], runs: ['sleep', '1000000'] }, signal);
  await bash(
    `kubectl create namespace team && kubectl create deployment app -n team --image=${app.reference} && kubectl rollout status deployment/app -n team && kubectl rollout status deployment/miroir-webhook -n ${NAMESPACE}`,
  );
  for (const { command, run: runIt } of documentedAt('use', place)) await t.test(command, runIt);
  for (const { command, run: runIt } of documentedAt('uninstall', place)) await t.test(command, runIt);

  await t.test('certs.d is as it was', async () => {
    await until(() => isDeepStrictEqual(certsOf(lab.nodes), certsBefore), signal);
  });
});

/** How many blobs the node's mirror got from peers for its containerd. */
async function blobsOfPeers(node: LabNode): Promise<number> {
  const { body } = await node.fetch('http://127.0.0.1:29984/metrics');
  const samples = String(body).matchAll(/^miroir_registry_requests_total\{(.*)\} (\d+)$/gm);
  return [...samples]
    .filter(([, labels = '']) => labels.includes('kind="blob"') && labels.includes('source="peer"'))
    .reduce((sum, [, , count]) => sum + Number(count), 0);
}
