/**
 * Nodes of a cluster go and come while all of them pull; then Miroir is taken away while two of them are switched off. Not one pull
 * may fail. No Event is left out of account: a pull that ends with its node, or with its pod's eviction, is no failed one for its
 * kubelet either, and what a node that has just booted pulls before its mirror is there has to succeed.
 */
import assert from 'node:assert/strict';
import test from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { createRandom } from '../../common/random.ts';
import { drainNode, uncordonNode } from '../lab/cluster/drain-node.ts';
import { run, until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import { MIROIR, READY_URL } from '../lab/node-mirror.ts';
import { deploy, failedPulls } from './deployment.ts';
import { certsOf, installCluster, NAMESPACE } from './installed-cluster.ts';
import { comparePulls, markedNodes, objectsLeft, prune } from './prune.ts';
import { startPulls } from './steady-pulls.ts';

const DEADLINE_MS = 10 * 60_000;
/** Four refused connections cost a millisecond, and anything that times out costs seconds; in between is what a busy machine does. */
const STAYED_MS_MAX = 500;
/** Of the order in which a prune deletes. */
const SEED = 6;

test('nodes drained, rebooted and replaced, and a prune, during pulls: none fails', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const cluster = await installCluster({ nodes: ['2.4', '2.4', '1.6.20'], helm: 'helm3' }, signal);
  t.after(() => cluster.down());
  const { lab, plane, certsBefore } = cluster;
  const { call } = plane;
  const [n1, n2, n3] = lab.nodes as readonly [LabNode, LabNode, LabNode];
  await call('POST', '/api/v1/namespaces', { metadata: { name: 'team', labels: { 'miroir.dev/mirror': 'enabled' } } });
  const pulls = await startPulls(cluster, signal);
  const mirrorIsReady = async (node: LabNode) => {
    const isReady = () =>
      node.fetch(READY_URL).then(
        ({ status }) => status === 200,
        () => false,
      );
    await until(isReady, signal, () => `the mirror of ${node.name} is not ready`);
  };

  await t.test('a node is drained in the middle of a pull, rebooted, and takes pods again', async () => {
    await pulls.midway(lab.nodes);

    await drainNode(call, n1.name, signal);
    await pulls.midway([n2, n3]);
    await n1.kill();
    await cluster.boot(n1, signal);
    await uncordonNode(call, n1.name);

    await mirrorIsReady(n1);
    await pulls.anotherRound();
  });

  await t.test('a node loses its power in the middle of a pull, and comes back', async () => {
    await pulls.midway(lab.nodes);

    await n3.kill();
    await cluster.boot(n3, signal);

    await mirrorIsReady(n3);
    await pulls.anotherRound();
  });

  await t.test('a node is replaced in the middle of a pull by one of another name and address', async () => {
    await pulls.midway(lab.nodes);

    await cluster.remove(n2);
    const n4 = await cluster.join('2.4', signal);

    await mirrorIsReady(n4);
    await pulls.anotherRound();
  });

  const up = lab.nodes.at(-1) as LabNode;
  const off = [n1, n3] as const;
  const asBefore = certsIn(certsBefore, n1);
  const hostsBefore = asBefore.find(([file]) => file.includes(lab.upstream.host))?.[1] ?? assert.fail();
  const isAsBefore = (node: LabNode) => isDeepStrictEqual(certsIn(certsOf([node]), node), asBefore);

  await t.test('a prune without hooks takes all away but what is on nodes that are switched off', async (pruned) => {
    await pulls.midway(lab.nodes);

    await Promise.all(off.map((node) => node.kill()));
    await prune(cluster, createRandom(SEED));

    await until(
      () => isAsBefore(up),
      signal,
      () => `${up.name} has lines of Miroir`,
    );
    await Promise.all(off.map((node) => cluster.boot(node, signal)));
    await until(async () => (await objectsLeft(cluster)).length === 0, signal);
    pruned.diagnostic(
      `certs.d is as before: ${lab.nodes.map((node) => `${node.name} ${isAsBefore(node)}`).join(', ')}`,
    );
    for (const node of off) assert.equal(isAsBefore(node), false);
    await pulls.anotherRound();
  });

  await t.test('no pull failed meanwhile', async (report) => {
    const { failed, ...counts } = await pulls.stop();

    report.diagnostic(JSON.stringify(counts));
    assert.deepEqual(failed, []);
  });

  await t.test('pods that opted in run on all nodes after it', async () => {
    const spec = { seed: 'pruned', layers: [{ bytes: 300_000 }], runs: ['sleep', '1000000'] };
    await deploy(cluster, (await lab.upstream.push('team/app:pruned', spec, signal)).reference, lab.nodes.length);

    assert.deepEqual(await failedPulls(cluster), []);
  });

  await t.test('a pull that does fail is counted', async () => {
    const spec = { containers: [{ name: 'app', image: `${lab.upstream.host}/team/app:none` }] };
    await call('POST', '/api/v1/namespaces/team/pods', { metadata: { name: 'none' }, spec });

    await until(async () => (await failedPulls(cluster)).length > 0, signal);

    await call('DELETE', '/api/v1/namespaces/team/pods/none?gracePeriodSeconds=0');
  });

  const [cleaned, reinstalled] = off;

  for (const node of off) {
    await t.test(
      `what stays in certs.d of ${node.containerdVersion} costs a pull nothing to speak of`,
      async (cost) => {
        const { stayed, before } = await comparePulls(lab, node, hostsBefore, signal);

        cost.diagnostic(`a small image takes ${stayed.toFixed(1)} ms, and ${before.toFixed(1)} without`);
        assert.ok(stayed < before + STAYED_MS_MAX);
      },
    );
  }

  await t.test('miroir cleanup restores certs.d byte for byte', async () => {
    await cleaned.exec([...MIROIR, 'cleanup'], {}, signal);

    assert.ok(isAsBefore(cleaned));
  });

  await t.test('miroir uninstall takes off nodes what the webhook wrote', async () => {
    const marked = await markedNodes(cluster); // The new one, too, if the webhook came to it.
    for (const { name } of off) assert.ok(marked.includes(name), name);

    await run([...MIROIR, 'uninstall', `--kubeconfig=${plane.kubeconfig}`, `--namespace=${NAMESPACE}`], {}, signal);

    assert.deepEqual(await markedNodes(cluster), []);
  });

  await t.test('an install and an uninstall by Helm restore certs.d, too', async () => {
    assert.equal(isAsBefore(reinstalled), false);

    await cluster.install();
    await cluster.helm('uninstall', 'miroir', '--wait', '--timeout=60s');

    await until(() => lab.nodes.every(isAsBefore), signal); // Pods end a little later than what Helm deletes.
    assert.deepEqual(await markedNodes(cluster), []);
  });
});

/** Of one node, without its name. */
function certsIn(certs: ReturnType<typeof certsOf>, { name }: LabNode): readonly (readonly [string, string])[] {
  return certs
    .filter(([file]) => file.startsWith(`${name}/`))
    .map(([file, text]) => [file.slice(name.length), text] as const);
}
