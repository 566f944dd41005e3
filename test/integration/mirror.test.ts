/** Real containerds of both versions pull real images from each other. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { createLab, type Lab } from '../lab/lab.ts';

const DEADLINE_MS = 180_000;
const IMAGE = 'team/app:v1';
const LAYERS = [{ bytes: 8_000_000 }, { bytes: 1_000_000, gzip: true }];

async function startSwarm(t: test.TestContext, versions: readonly ('1.6.20' | '2.4')[]): Promise<Lab> {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const lab = await createLab({ nodes: versions.map((containerd) => ({ containerd })) }, signal);
  t.after(() => lab.down());
  for (const node of lab.nodes) await node.configure();
  await Promise.all(lab.nodes.map((node) => node.startMirror()));
  return lab;
}

test('what one node pulled, all others pull from it, and upstream is asked for no manifest and no blob', async (t) => {
  const lab = await startSwarm(t, ['1.6.20', '2.4', '1.6.20', '2.4']);
  const image = await lab.upstream.push(IMAGE, { seed: 'shared', layers: LAYERS });
  const [first, ...others] = lab.nodes;
  await first?.pull(image.reference);
  await lab.upstream.resetStats();

  for (const node of others) await node.pull(image.reference);

  const { manifestGets, blobGets } = await lab.upstream.stats();
  assert.deepEqual({ manifestGets, blobGets }, { manifestGets: 0, blobGets: 0 });
});

for (const version of ['1.6.20', '2.4'] as const) {
  test(`containerd ${version} asks for what nobody has on one connection, one thing after another`, async (t) => {
    const lab = await startSwarm(t, [version]);
    const image = await lab.upstream.push(IMAGE, { seed: 'one connection', layers: [{ bytes: 100_000 }] });
    const [node] = lab.nodes;
    assert.ok(node);
    const before = await acceptedConnections(node);

    await node.pull(image.reference);

    // For the manifest, the config and the layer. Where each of them took another one, a pull took milliseconds more.
    assert.equal((await acceptedConnections(node)) - before, 1);
  });
}

test('a tag that moved upstream is pulled fresh by every node', async (t) => {
  const lab = await startSwarm(t, ['1.6.20', '2.4']);
  const old = await lab.upstream.push(IMAGE, { seed: 'old', layers: LAYERS });
  for (const node of lab.nodes) await node.pull(old.reference);

  const moved = await lab.upstream.push(IMAGE, { seed: 'new', layers: LAYERS });

  assert.notEqual(moved.digest, old.digest);
  for (const node of lab.nodes) {
    const { stdout } = await pulledDigest(node, moved.reference);
    assert.ok(stdout.includes(moved.digest), `${node.name} has ${stdout}`);
  }
});

test('with upstream stopped a node that never had the image pulls it by tag', async (t) => {
  const lab = await startSwarm(t, ['1.6.20', '2.4', '1.6.20']);
  const image = await lab.upstream.push(IMAGE, { seed: 'outage', layers: LAYERS });
  const [first, ...others] = lab.nodes;
  await first?.pull(image.reference);
  await lab.upstream.stop();

  for (const node of others) {
    const { stdout } = await pulledDigest(node, image.reference);
    assert.ok(stdout.includes(image.digest), `${node.name} has ${stdout}`);
  }
});

async function pulledDigest(node: Lab['nodes'][number], reference: string) {
  await node.pull(reference);
  return node.exec(['ctr', '--namespace', 'k8s.io', 'images', 'ls', `name==${reference}`]);
}

/** How many connections programs of the node have accepted since it was made: proc(5), /proc/net/snmp. */
async function acceptedConnections(node: Lab['nodes'][number]): Promise<number> {
  const { stdout } = await node.exec(['cat', '/proc/net/snmp']);
  const [names = [], values = []] = stdout
    .split('\n')
    .flatMap((line) => (line.startsWith('Tcp:') ? [line.split(' ')] : []));
  return Number(values[names.indexOf('PassiveOpens')]);
}
