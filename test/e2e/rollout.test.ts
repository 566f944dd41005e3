/** A whole cluster: real kubelets, real containerds of both kinds, and Miroir as its users install it. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import type { MirrorReport } from '../../cli/read-status.ts';
import { CHART } from '../lab/cluster/helm.ts';
import { run, until } from '../lab/namespace.ts';
import { MIROIR } from '../lab/node-mirror.ts';
import { runBuilder } from './builder-pod.ts';
import { type DeployOptions, deploy, failedPulls } from './deployment.ts';
import { certsOf, type InstalledCluster, installCluster } from './installed-cluster.ts';
import { formatMemory, measureMemory } from './memory.ts';
import { createPullSecrets, PLAIN_IMAGE, runPodShapes } from './pod-shapes.ts';
import { dashboardQueries } from './prometheus.ts';

const DEADLINE_MS = 20 * 60_000;
const INSTALL_MS_MAX = 60_000;
const SCRAPES_MS = 30_000;
/** The sizes that are promised take minutes on two cores. */
const IS_FULL = process.env['E2E_FULL'] === '1';
const LAYERS = Array.from({ length: 4 }, () => ({ bytes: IS_FULL ? 25_000_000 : 5_000_000 }));
const PODS = IS_FULL ? 30 : 12;

test('a release on three nodes: all ready, rollouts of one copy, and gone without a trace', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const cluster = await installCluster({ nodes: ['2.4', '2.4', '1.6.20'], helm: 'helm' }, signal);
  t.after(() => cluster.down());
  const { lab, plane, certsBefore, prometheus } = cluster;
  const { call } = plane;
  t.diagnostic(`ready ${Math.round(cluster.installMs)} ms after the install`);
  t.diagnostic(`memory at rest: ${formatMemory(measureMemory(lab))}`);

  await t.test('everything is ready within a minute', () => {
    assert.ok(cluster.installMs < INSTALL_MS_MAX, `${cluster.installMs} ms`);
  });

  await call('POST', '/api/v1/namespaces', { metadata: { name: 'team', labels: { 'miroir.dev/mirror': 'enabled' } } });

  await createPullSecrets(cluster);

  const costsOneCopy = (name: string, options: DeployOptions = {}) =>
    t.test(`a rollout of ${name} costs the registry one copy`, async (rollout) => {
      const image = await lab.upstream.push(
        `team/${name}`,
        { seed: name, layers: LAYERS, runs: ['sleep', '1000000'] },
        signal,
      );
      await lab.upstream.lock(options.pullSecret === undefined ? undefined : 'token');
      await lab.upstream.resetStats();
      const startedAt = performance.now();

      await deploy(cluster, image.reference, PODS, options);

      await lab.upstream.lock(undefined);
      const { byDigest } = await lab.upstream.stats();
      // The layer with the program is that of the cluster's pause image, which all nodes have.
      const layers = (image.manifests[0]?.layers ?? []).slice(0, LAYERS.length);
      const sent = layers.reduce((sum, { digest }) => sum + (byDigest[digest]?.bytes ?? 0), 0);
      const copies = sent / layers.reduce((sum, { size }) => sum + size, 0);
      rollout.diagnostic(
        `${PODS} pods in ${Math.round(performance.now() - startedAt)} ms, ${copies.toFixed(2)} copies`,
      );
      assert.equal(copies.toFixed(2), '1.00');
    });

  await costsOneCopy('app:v1');

  await t.test('Prometheus finds all mirrors and webhooks, and has nothing to complain of', async () => {
    const expected = { mirror: lab.nodes.length, webhook: 2 };
    // Of each since the first rollout: what has come by the next one can be told from what was there before.
    const since = Date.now() / 1000;
    await until(
      async () => {
        const up = await prometheus.query(`sum by (component) (up and timestamp(up) > ${since})`);
        return isDeepStrictEqual(
          Object.fromEntries(up.map(({ metric, value }) => [metric['component'], value])),
          expected,
        );
      },
      AbortSignal.any([signal, AbortSignal.timeout(SCRAPES_MS)]),
    );

    assert.deepEqual(await prometheus.firing(), []);
  });

  await costsOneCopy('app:v2');
  await costsOneCopy('private:v1', { pullSecret: 'right' });
  t.diagnostic(`memory after three rollouts: ${formatMemory(measureMemory(lab))}`);

  await t.test('the webhook admitted its pods', async () => {
    const { body } = await call('GET', '/api/v1/namespaces/team/pods');
    assert.ok(body.items.length >= PODS);
    for (const { metadata } of body.items) assert.equal(metadata.annotations?.['miroir.dev/gate-applied'], 'block');
  });

  await t.test(
    'a pod that pulls by itself gets from its agent what another node has, and asks no registry',
    async (builder) => {
      const [holder, node] = lab.nodes;
      assert.ok(holder && node);
      const image = await lab.upstream.push('team/base:v1', { seed: 'base', layers: LAYERS }, signal);
      await holder.pull(image.reference);
      await lab.upstream.resetStats();

      const byDigest = `${lab.upstream.host}/team/base@${image.digest}`;
      const { exitCode, sources, ms } = await runBuilder(cluster, { image: byDigest, node }, signal);

      builder.diagnostic(`over ${Math.round(ms)} ms after its creation`);
      assert.equal(exitCode, 0);
      assert.ok(sources.length > LAYERS.length && sources.every((source) => source === 'peer'), sources.join());
      const { manifestGets, blobGets } = await lab.upstream.stats();
      assert.deepEqual({ manifestGets, blobGets }, { manifestGets: 0, blobGets: 0 });
    },
  );

  await t.test('miroir status tells by way of the apiserver that all is well', async () => {
    const { stdout } = await run([...MIROIR, 'status', `--kubeconfig=${plane.kubeconfig}`, '--json'], {}, signal);
    const reports = JSON.parse(stdout) as readonly MirrorReport[];
    assert.deepEqual(
      reports.map(({ node, problem }) => ({ node, problem })),
      lab.nodes.map(({ name }) => ({ node: name, problem: undefined })),
    );
    for (const { status } of reports) {
      assert.deepEqual(status?.missing, []);
      assert.equal(status?.verdict.result, 'compatible');
      assert.equal(status?.members.length, 2);
    }
  });

  for (const [panel, expression] of dashboardQueries()) {
    await t.test(`the dashboard shows something under "${panel}" for ${expression}`, async () => {
      const isShown = async () => (await prometheus.query(expression)).some(({ value }) => Number.isFinite(value));

      await until(isShown, AbortSignal.any([signal, AbortSignal.timeout(SCRAPES_MS)]), () => 'nothing to show');
    });
  }

  await t.test('helm test passes', async () => {
    await cluster.helm('test', 'miroir', '--timeout=60s');
  });

  await t.test('an upgrade of everything fails no pull of the rollouts that go on meanwhile', async (upgrade) => {
    const annotations = ['mirror', 'webhook'].map((part) => `--set=${part}.podAnnotations.upgraded=yes`);
    let rollouts = 0;
    let isUpgraded = false;
    const rollOut = async () => {
      while (!isUpgraded) {
        const tag = `upgrade-${rollouts++}`;
        const spec = { seed: tag, layers: LAYERS, runs: ['sleep', '1000000'] };
        await deploy(cluster, (await lab.upstream.push(`team/app:${tag}`, spec, signal)).reference, PODS);
      }
    };
    const upgraded = cluster
      .helm('upgrade', 'miroir', CHART, '--reuse-values', ...annotations, '--wait', '--timeout=120s')
      .finally(() => {
        isUpgraded = true;
      });

    await Promise.all([upgraded, rollOut()]);

    upgrade.diagnostic(`${rollouts} rollouts meanwhile`);
    assert.deepEqual(await failedPulls(cluster), []);
  });

  const [holder, ...others] = lab.nodes;
  assert.ok(holder);
  for (const [index, node] of others.entries()) {
    const scheme = index === 0 ? 'token' : 'basic';
    await t.test(
      `pods of all shapes on ${node.name}, the registry locked by ${scheme}, become what they become without Miroir, and cost it no layer`,
      async () => {
        const tag = `with-${scheme}`;

        const { outcomes, expected, upstreamBytes } = await runPodShapes(
          cluster,
          { tag, scheme, holder, node },
          signal,
        );

        assert.deepEqual(outcomes, expected);
        assert.equal(upstreamBytes, 0); // They came from the holder.
      },
    );
  }

  await t.test('with the registry stopped an image that one node has runs on all', async () => {
    const image = await lab.upstream.push(
      'team/app:v3',
      { seed: 'v3', layers: LAYERS, runs: ['sleep', '1000000'] },
      signal,
    );
    await lab.nodes[0]?.pull(image.reference);
    await lab.upstream.stop();

    await deploy(cluster, image.reference, PODS);

    await lab.upstream.start();
  });

  await t.test(
    'a node whose containerd is set up wrongly is labelled and avoided, until it is mended',
    async (broken) => {
      const [, , node] = lab.nodes;
      assert.ok(node);
      const config = path.join(node.folder, 'etc-containerd', 'config.toml');
      const text = fs.readFileSync(config, 'utf8');
      const label = async () =>
        (await call('GET', `/api/v1/nodes/${node.name}`)).body.metadata.labels['miroir.dev/containerd'];
      const since = performance.now();
      fs.writeFileSync(config, text.replace(/config_path = .*/, 'config_path = ""'));
      await node.restartContainerd();
      await until(async () => (await label()) === 'incompatible', signal);
      broken.diagnostic(`labelled after ${Math.round((performance.now() - since) / 1000)} s`);

      const incompatible = async () =>
        (await prometheus.firing()).filter(({ alertname }) => alertname === 'MiroirNodeIncompatible');
      await until(async () => (await incompatible()).length > 0, signal);
      assert.deepEqual(
        (await incompatible()).map(({ node: name }) => name),
        [node.name],
      );

      const status = [
        'sh',
        '-c',
        '"$@"; echo "exit $?"',
        'sh',
        ...MIROIR,
        'status',
        `--kubeconfig=${plane.kubeconfig}`,
      ];
      const { stdout } = await run(status, {}, signal);
      assert.match(stdout, new RegExp(`^${node.name}: .*\\(config-path-empty\\)$`, 'm'));
      assert.match(stdout, /exit 1\n$/);
      const { body } = await call('POST', '/api/v1/namespaces/team/pods?dryRun=All', {
        metadata: { name: 'new' },
        spec: { containers: [{ name: 'app', image: 'app' }] },
      });
      const [term] = body.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms;
      assert.deepEqual(term.matchExpressions, [
        { key: 'miroir.dev/containerd', operator: 'NotIn', values: ['incompatible'] },
      ]);

      assert.deepEqual(
        (await nodesOfPods(cluster, ['avoids-1', 'avoids-2', 'avoids-3'], signal)).filter((name) => name === node.name),
        [],
      );

      fs.writeFileSync(config, text);
      await node.restartContainerd();
      await until(async () => (await label()) === 'compatible', signal);
      await until(async () => (await incompatible()).length === 0, signal);
    },
  );

  await t.test('an uninstall leaves certs.d as it was, and nothing in the cluster or on its nodes', async () => {
    assert.notDeepEqual(certsOf(lab.nodes), certsBefore);

    await cluster.helm('uninstall', 'miroir', '--wait', '--timeout=60s');

    // Helm does not wait for what a DaemonSet made.
    await until(async () => (await call('GET', '/api/v1/namespaces/miroir/pods')).body.items.length === 0, signal);
    assert.deepEqual(certsOf(lab.nodes), certsBefore);
    for (const { metadata, status } of (await call('GET', '/api/v1/nodes')).body.items) {
      assert.doesNotMatch(JSON.stringify([metadata.labels, metadata.annotations, status.conditions]), /miroir/i);
    }
    await deploy(
      cluster,
      (await lab.upstream.push('team/app:v4', { seed: 'v4', layers: [], runs: ['sleep', '1000000'] }, signal))
        .reference,
      PODS,
    );
  });

  await t.test('and pods of all shapes pull without Miroir as they did with it', async () => {
    const [node] = others;
    assert.ok(node);

    const shapes = { tag: 'without', scheme: 'token', holder, node } as const;
    const { outcomes, expected } = await runPodShapes(cluster, shapes, signal);

    assert.deepEqual(outcomes, expected);
  });
});

/** Where the scheduler puts new pods that opted in. */
async function nodesOfPods(
  { plane: { call } }: InstalledCluster,
  names: readonly string[],
  signal: AbortSignal,
): Promise<readonly string[]> {
  const pods = '/api/v1/namespaces/team/pods';
  const containers = [{ name: 'app', image: PLAIN_IMAGE }];
  for (const name of names)
    assert.equal((await call('POST', pods, { metadata: { name }, spec: { containers } })).status, 201);
  const nodeOf = async (name: string) => (await call('GET', `${pods}/${name}`)).body.spec.nodeName;
  await until(async () => (await Promise.all(names.map(nodeOf))).every((node) => node !== undefined), signal);
  const nodes = await Promise.all(names.map(nodeOf));
  for (const name of names) await call('DELETE', `${pods}/${name}?gracePeriodSeconds=0`);
  return nodes.filter((node) => node !== undefined);
}
