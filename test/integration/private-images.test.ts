/** Real containerds of both versions, and a registry that asks who is there: a mirror serves whom the registry would. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { inChunks } from '../faults/stage.ts';
import { createLab, type Lab } from '../lab/lab.ts';
import type { LabNode } from '../lab/node.ts';

const DEADLINE_MS = 120_000;
const LAYERS = [{ bytes: 9_000_000 }, { bytes: 1_000_000, gzip: true }];
const RIGHT = { username: 'lab', password: 'secret' };
const WRONG = { username: 'lab', password: 'guessed' };

type Nodes = readonly [LabNode, LabNode, LabNode];

/** The first node is who has the images; of the others one has containerd 2, which fetches in chunks. */
async function startLab(t: test.TestContext, signal: AbortSignal, mirrorArgs: readonly string[] = []): Promise<Lab> {
  const nodes = [
    { containerd: '1.6.20' },
    { containerd: '1.6.20' },
    { containerd: '2.4', configToml: inChunks },
  ] as const;
  const lab = await createLab({ nodes }, signal);
  t.after(() => lab.down());
  for (const node of lab.nodes) await node.configure();
  await Promise.all(lab.nodes.map((node) => node.startMirror(mirrorArgs, signal)));
  return lab;
}

async function contentGets(lab: Lab): Promise<{ readonly manifestGets: number; readonly blobGets: number }> {
  const { manifestGets, blobGets } = await lab.upstream.stats();
  return { manifestGets, blobGets };
}

const NONE = { manifestGets: 0, blobGets: 0 };

for (const scheme of ['basic', 'token'] as const) {
  test(`a private image comes from peers to whoever may read it, and to nobody else (${scheme})`, async (t) => {
    const signal = AbortSignal.timeout(DEADLINE_MS);
    const lab = await startLab(t, signal);
    const [holder, ...others] = lab.nodes as Nodes;
    const image = await lab.upstream.push('team/private:v1', { seed: scheme, layers: LAYERS });
    const pinned = `${lab.upstream.host}/${image.repository}@${image.digest}`;
    await lab.upstream.lock(scheme);
    await holder.pull(image.reference, { auth: RIGHT }, signal);
    await lab.upstream.resetStats();

    for (const node of others) {
      for (const reference of [image.reference, pinned]) {
        await assert.rejects(node.pull(reference, {}, signal), `${node.name} without a secret`);
        await assert.rejects(node.pull(reference, { auth: WRONG }, signal), `${node.name} with a wrong secret`);
      }
      assert.deepEqual(await contentGets(lab), NONE);
      await node.pull(image.reference, { auth: RIGHT }, signal);
      assert.deepEqual(await contentGets(lab), NONE, node.name);
    }
  });
}

test('an image of an open registry is pulled without a question of who asks, and asked about once a node', async (t) => {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const lab = await startLab(t, signal);
  const [holder, ...others] = lab.nodes as Nodes;
  const image = await lab.upstream.push('team/open:v1', { seed: 'open', layers: LAYERS });
  await holder.pull(image.reference, {}, signal);
  await lab.upstream.resetStats();

  for (const node of others) await node.pull(image.reference, {}, signal);

  const { manifestHeads, blobHeads, ...rest } = await lab.upstream.stats();
  assert.deepEqual({ manifestGets: rest.manifestGets, blobGets: rest.blobGets }, NONE);
  // containerd's own for the tag, and the mirror's.
  assert.deepEqual({ manifestHeads, blobHeads }, { manifestHeads: 4, blobHeads: 0 });
});

test('the name of an open image opens no private one', async (t) => {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const lab = await startLab(t, signal);
  const [holder, other] = lab.nodes as Nodes;
  const open = await lab.upstream.push('team/open:v1', { seed: 'open', layers: [{ bytes: 1000 }] });
  const secret = await lab.upstream.push('team/private:v1', { seed: 'secret', layers: [{ bytes: 1000 }] });
  for (const { reference } of [open, secret]) await holder.pull(reference, {}, signal);

  await assert.rejects(other.pull(`${lab.upstream.host}/${open.repository}@${secret.digest}`, {}, signal));
  for (const [repository, registry] of [
    [open.repository, lab.upstream.host],
    [secret.repository, 'nowhere.invalid'],
  ]) {
    for (const content of [`manifests/${secret.digest}`, `blobs/${secret.manifests[0]?.layers[0]?.digest}`]) {
      const { status } = await other.fetch(`http://127.0.0.1:29981/v2/${repository}/${content}?ns=${registry}`);
      assert.equal(status, 401, `${registry}/${repository} ${content}`);
    }
  }
});

test('with the registry stopped nodes know from each other what is for everybody, and what is not', async (t) => {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const lab = await startLab(t, signal, ['--private-images', 'prove-always']);
  const [holder, other, third] = lab.nodes as Nodes;
  const open = await lab.upstream.push('team/open:v1', { seed: 'open', layers: LAYERS });
  const secret = await lab.upstream.push('team/private:v1', { seed: 'secret', layers: LAYERS });
  await holder.pull(open.reference, {}, signal);
  await lab.upstream.lock('token');
  await holder.pull(secret.reference, { auth: RIGHT }, signal);
  await other.pull(secret.reference, { auth: RIGHT }, signal);
  await other.removeImage(secret.reference, signal);
  await lab.upstream.stop();

  await other.pull(secret.reference, { auth: RIGHT }, signal);
  for (const node of [other, third]) {
    await node.pull(open.reference, {}, signal);
    await node.removeImage(secret.reference, signal);
    await assert.rejects(node.pull(secret.reference, {}, signal), `${node.name} without a secret`);
    await assert.rejects(node.pull(secret.reference, { auth: WRONG }, signal), `${node.name} with a wrong secret`);
  }
  await third.stopMirror();
  await third.startMirror(['--private-images', 'prove'], signal);
  await assert.rejects(third.pull(secret.reference, {}, signal), 'without a secret');
  await third.pull(secret.reference, { auth: RIGHT }, signal);
});
