/** A program in a pod that pulls by itself: buildah, by way of the pod's agent and the mirror of its node. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { createLab, type Lab } from '../lab/lab.ts';
import { type Program, until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import { MIROIR, READY_URL } from '../lab/node-mirror.ts';
import { createPodTokens, type PodTokens } from '../lab/pod-tokens.ts';

const DEADLINE_MS = 180_000;
/** 2 s are what a connection gets, once; a busy machine takes the rest. */
const UNREACHABLE_MS_MAX = 9_000;
const LAYERS = [{ bytes: 4_000_000 }, { bytes: 1_000_000, gzip: true }];
/** As the guide says it. */
const REGISTRIES_CONF = `
[[registry]]
prefix = "upstream.lab:5000"
location = "upstream.lab:5000"
insecure = true

[[registry.mirror]]
location = "127.0.0.1:29981/upstream.lab_5000"
insecure = true
`;

interface Pod {
  readonly lab: Lab;
  /** Its network. */
  readonly pod: LabNode;
  /** Holds the image. */
  readonly holder: LabNode;
  /** The node whose mirror the pod asks. */
  readonly node: LabNode;
  readonly startAgent: (flags?: readonly string[]) => Promise<Program>;
  readonly tokens: PodTokens;
  readonly startMirror: () => Promise<Program>;
  readonly useToken: (token: string) => void;
  /** Pulls by buildah, into a storage that is empty. */
  readonly buildahPull: (reference: string, env?: Readonly<Record<string, string>>) => Promise<void>;
  readonly metric: (node: LabNode, line: RegExp) => Promise<number>;
}

/** Two nodes with mirrors, and a network of its own for a pod. */
async function startPod(t: TestContext, signal: AbortSignal): Promise<Pod> {
  const lab = await createLab({ nodes: ['2.4', '2.4', '1.6.20'].map((containerd) => ({ containerd })) }, signal);
  t.after(() => lab.down());
  const [holder, node, pod] = lab.nodes;
  assert.ok(holder && node && pod);
  const tokens = await createPodTokens();
  const file = (name: string) => path.join(lab.folder, name);
  fs.writeFileSync(file('keys.json'), tokens.keysFile);
  fs.writeFileSync(file('registries.conf'), REGISTRIES_CONF);
  const useToken = (token: string) => fs.writeFileSync(file('token'), `${token}\n`);
  useToken(await tokens.sign({ node: node.name }));
  // A mirror asks a registry where its node's containerd would: who may read there is served here.
  await Promise.all([holder.configure(), node.configure()]);
  const startMirror = () =>
    node.startMirror([
      '--pod-address=0.0.0.0:29986',
      `--pod-token-keys-file=${file('keys.json')}`,
      `--node-name=${node.name}`,
    ]);
  await Promise.all([holder.startMirror(), startMirror()]);
  let storages = 0;
  return {
    lab,
    pod,
    holder,
    node,
    tokens,
    startMirror,
    useToken,
    startAgent: async (flags = []) => {
      const own = [`--mirror-host=${node.address}`, `--pod-token-file=${file('token')}`, '--wait-for-mirror=30s'];
      const agent = pod.start('agent', [...MIROIR, 'agent', ...own, ...flags]);
      const isReady = () => {
        assert.ok(agent.isRunning(), agent.logTail());
        return pod.fetch(READY_URL).then(
          ({ status }) => status === 200,
          () => false,
        );
      };
      await until(isReady, signal, () => agent.logTail());
      return agent;
    },
    buildahPull: async (reference, more = {}) => {
      const storage = file(`storage-${storages++}`);
      const own = [`--root=${storage}/root`, `--runroot=${storage}/run`, '--storage-driver=vfs'];
      const env = { CONTAINERS_REGISTRIES_CONF: file('registries.conf'), TMPDIR: lab.folder, ...more };
      await pod.exec(['buildah', ...own, 'pull', '--quiet', reference], { env }, signal);
    },
    metric: async (from, line) => {
      const { body } = await from.fetch('http://127.0.0.1:29984/metrics');
      return Number(line.exec(body)?.[1] ?? assert.fail(`there is no ${line}`));
    },
  };
}

test('buildah in a pod gets what the swarm has, and is never kept from its registry', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const { lab, pod, holder, node, tokens, startMirror, startAgent, useToken, buildahPull, metric } = await startPod(
    t,
    signal,
  );
  const image = await lab.upstream.push('team/app:v1', { seed: 'pod', layers: LAYERS }, signal);
  const byDigest = `${lab.upstream.host}/team/app@${image.digest}`;
  await holder.pull(image.reference);
  const fromUpstream = async (reference: string) => {
    await lab.upstream.resetStats();
    const startedAt = performance.now();
    await buildahPull(reference);
    const { manifestGets, blobGets } = await lab.upstream.stats();
    t.diagnostic(`${reference.slice(0, 40)}: ${Math.round(performance.now() - startedAt)} ms`);
    return { manifestGets, blobGets };
  };
  const blobs = LAYERS.length + 1;
  let agent = await startAgent();

  await t.test('by digest: nothing is asked of the registry', async () => {
    assert.deepEqual(await fromUpstream(byDigest), { manifestGets: 0, blobGets: 0 });
    assert.ok((await metric(node, /^miroir_registry_sent_bytes_total\{source="peer".* (\d+)$/m)) > 5_000_000);
  });

  await t.test('a tag is resolved by the registry, from which buildah then takes the image whole', async () => {
    assert.deepEqual((await fromUpstream(image.reference)).blobGets, blobs);
  });

  await t.test('a tag comes from the swarm where that was asked for', async () => {
    await agent.stop();
    agent = await startAgent(['--answer-tags=on']);

    assert.deepEqual(await fromUpstream(image.reference), { manifestGets: 0, blobGets: 0 });
  });

  await t.test(
    'without a token that is good here the mirror refuses and counts, and the registry is asked',
    async () => {
      useToken(await (await createPodTokens()).sign({ node: node.name }));

      assert.deepEqual((await fromUpstream(byDigest)).blobGets, blobs);

      assert.ok((await metric(node, /^miroir_pod_refused_requests_total\{reason="invalid"\} (\d+)$/m)) > 0);
    },
  );

  await t.test('a mirror that is replaced in the middle of a layer fails no pull', async () => {
    useToken(await tokens.sign({ node: node.name }));
    const large = await lab.upstream.push('team/large:v1', { seed: 'large', layers: [{ bytes: 30_000_000 }] }, signal);
    await holder.pull(large.reference);
    await lab.upstream.resetStats();
    await node.limitRate({ send: 10_000_000, receive: 10_000_000 });
    const relayed = /^miroir_peer_sent_bytes_total (\d+)$/m;
    const before = await metric(holder, relayed);
    const pulled = buildahPull(`${lab.upstream.host}/team/large@${large.digest}`);
    await until(async () => (await metric(holder, relayed)) > before + 5_000_000, signal);

    await node.stopMirror('SIGKILL');
    await startMirror();
    await pulled;

    const { manifestGets, blobGets } = await lab.upstream.stats();
    assert.deepEqual({ manifestGets, blobGets }, { manifestGets: 0, blobGets: 0 });
    await node.limitRate(undefined);
  });

  await t.test(
    'a private image comes from nobody but its registry, by the credentials that buildah has for it',
    async () => {
      const secret = await lab.upstream.push('team/private:v1', { seed: 'private', layers: LAYERS }, signal);
      const pinned = `${lab.upstream.host}/team/private@${secret.digest}`;
      await lab.upstream.lock('basic');
      await holder.pull(secret.reference, { auth: { username: 'lab', password: 'secret' } }, signal);
      await lab.upstream.resetStats();
      const authFile = path.join(lab.folder, 'auth.json');
      const auth = Buffer.from('lab:secret').toString('base64');
      fs.writeFileSync(authFile, JSON.stringify({ auths: { [lab.upstream.host]: { auth } } }));

      await assert.rejects(buildahPull(pinned));
      await buildahPull(pinned, { REGISTRY_AUTH_FILE: authFile });

      assert.deepEqual((await lab.upstream.stats()).blobGets, blobs);
      await lab.upstream.lock(undefined);
    },
  );

  await t.test('with the mirror killed the registry is asked', async () => {
    await node.stopMirror('SIGKILL');

    assert.deepEqual((await fromUpstream(byDigest)).blobGets, blobs);
  });

  await t.test('with the mirror out of reach the registry is asked, and soon', async () => {
    await node.block([pod]);
    const startedAt = performance.now();

    assert.deepEqual((await fromUpstream(byDigest)).blobGets, blobs);

    assert.ok(performance.now() - startedAt < UNREACHABLE_MS_MAX);
  });
});
