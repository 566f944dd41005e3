/** A program in a pod that pulls by itself: buildah, by way of the pod's agent and the mirror of its node. */
import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { until } from '../lab/namespace.ts';
import { createPodTokens } from '../lab/pod-tokens.ts';
import { type PullOptions, startPod } from './agent-pod.ts';
import { CONTENT } from './ingested-bytes.ts';

const DEADLINE_MS = 180_000;
/** 2 s are what a connection gets, once; a busy machine takes the rest. */
const UNREACHABLE_MS_MAX = 9_000;
const LAYERS = [{ bytes: 4_000_000 }, { bytes: 1_000_000, gzip: true }];

test('buildah in a pod gets what the swarm has, and is never kept from its registry', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const { lab, pod, holder, node, tokens, startMirror, startAgent, useToken, pull, metric } = await startPod(t, signal);
  const image = await lab.upstream.push('team/app:v1', { seed: 'pod', layers: LAYERS }, signal);
  const byDigest = `${lab.upstream.host}/team/app@${image.digest}`;
  await holder.pull(image.reference);
  const fromUpstream = async (reference: string, options: PullOptions = {}) => {
    await lab.upstream.resetStats();
    const startedAt = performance.now();
    await pull(reference, options);
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

  await t.test('by digest, to Podman: nothing is asked of the registry', async () => {
    assert.deepEqual(await fromUpstream(byDigest, { by: 'podman' }), { manifestGets: 0, blobGets: 0 });
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
    const pulled = pull(`${lab.upstream.host}/team/large@${large.digest}`);
    await until(async () => (await metric(holder, relayed)) > before + 5_000_000, signal);

    await node.stopMirror('SIGKILL');
    await startMirror();
    await pulled;

    const { manifestGets, blobGets } = await lab.upstream.stats();
    assert.deepEqual({ manifestGets, blobGets }, { manifestGets: 0, blobGets: 0 });
    await node.limitRate(undefined);
  });

  await t.test('of an image that the swarm has in part the rest comes from the registry', async () => {
    const part = await lab.upstream.push('team/part:v1', { seed: 'part', layers: LAYERS }, signal);
    await holder.pull(part.reference);
    const layer = part.manifests[0]?.layers[0]?.digest ?? assert.fail('it has no layer');
    fs.rmSync(path.join(holder.folder, CONTENT, 'blobs/sha256', layer.replace('sha256:', '')));

    assert.deepEqual(await fromUpstream(`${lab.upstream.host}/team/part@${part.digest}`), {
      manifestGets: 0,
      blobGets: 1,
    });

    assert.equal(await metric(pod, /^miroir_agent_requests_total\{outcome="fetched"\} (\d+)$/m), 1);
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

      await assert.rejects(pull(pinned));
      await pull(pinned, { env: { REGISTRY_AUTH_FILE: authFile } });

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
