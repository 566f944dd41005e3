/** `miroir status`, its figures against the upstream's own count, and `miroir verify`. */
import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { MirrorReport } from '../../cli/read-status.ts';
import type { ImageFinding } from '../../cli/verify-image.ts';
import { createLab } from '../lab/lab.ts';
import { run } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import { MIROIR } from '../lab/node-mirror.ts';

const DEADLINE_MS = 120_000;
const LAYERS = [{ bytes: 8_000_000 }, { bytes: 1_000_000, gzip: true }];

/** Two nodes with mirrors. */
async function startPair(t: TestContext, containerds: readonly [string, string], signal: AbortSignal) {
  const lab = await createLab({ nodes: containerds.map((containerd) => ({ containerd })) }, signal);
  t.after(() => lab.down());
  const [first, second] = lab.nodes as [LabNode, LabNode];
  for (const node of lab.nodes) await node.configure();
  await Promise.all(lab.nodes.map((node) => node.startMirror()));
  return { lab, first, second };
}

test('bytes spared are what the upstream would have sent, and a mirror that is away is told', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const { lab, first, second } = await startPair(t, ['1.6.20', '2.4'], signal);
  const image = await lab.upstream.push('team/app:v1', { seed: 'status', layers: LAYERS });
  await lab.upstream.resetStats();
  await first.pull(image.reference);
  const { bytes: sentOnce } = await lab.upstream.stats();
  await second.pull(image.reference);
  const status = async (...args: string[]) => {
    const argv = [...MIROIR, 'status', ...lab.nodes.map(({ address }) => `--address=${address}:29984`), ...args];
    return run(['sh', '-c', '"$@"; echo "exit $?"', 'sh', ...argv], {}, signal).then(({ stdout }) => stdout);
  };

  const json = (await status('--json')).replace(/exit 0\n$/, '');
  const reports = JSON.parse(json) as readonly MirrorReport[];
  const byNode = new Map(reports.map((report) => [report.node, report.status]));
  const [registry] = byNode.get(`${second.address}:29984`)?.registries ?? [];

  const manifestsAndBlobs = [
    image.digest,
    ...image.manifests.flatMap(({ config, layers: all }) => [config, ...all].map(({ digest }) => digest)),
  ];
  assert.equal(registry?.registry, 'upstream.lab:5000');
  assert.equal(registry?.sparedBytes, sentOnce);
  assert.equal(registry?.sparedRequests, manifestsAndBlobs.length);
  for (const report of byNode.values()) {
    assert.deepEqual(report?.missing, []);
    assert.equal(report?.members.length, 1);
    assert.equal(report?.verdict.result, 'compatible');
    assert.equal(report?.held.digests, manifestsAndBlobs.length);
  }

  await first.stopMirror();
  const text = await status();

  assert.match(text, new RegExp(`^${first.address}:29984  -`, 'm'));
  assert.match(text, /^upstream\.lab:5000 +9\.0 MB +\d+ /m);
  assert.match(text, new RegExp(`^${first.address}:29984: no answer: .*ECONNREFUSED`, 'm'));
  assert.match(text, /exit 1\n$/);
});

test('verify tells what of an image is here, at a peer, and at the registry alone, and keeps nothing', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const { lab, first, second } = await startPair(t, ['2.4', '1.6.20'], signal);
  const platforms = ['linux/amd64', 'linux/arm64'];
  const image = await lab.upstream.push('team/app:v1', { seed: 'verify', layers: LAYERS, platforms });
  await first.pull(image.reference);
  await lab.upstream.resetStats();
  const verify = async (node: typeof first, ...args: string[]) => {
    const argv = ['sh', '-c', '"$@"; echo "exit $?"', 'sh', ...MIROIR, 'verify', ...args];
    return (await node.exec(argv, {}, signal)).stdout;
  };

  for (const [node, source] of [
    [first, 'local'],
    [second, 'peer'],
    [second, 'peer'],
  ] as const) {
    const said = await verify(node, image.reference, '--json');
    assert.match(said, /exit 0\n$/);
    const { parts } = JSON.parse(said.replace(/exit 0\n$/, '')) as ImageFinding;
    assert.deepEqual(
      parts.map((part) => [part.kind, part.source]),
      ['index', 'manifest', 'config', 'layer', 'layer'].map((kind) => [kind, source]),
    );
  }
  const text = await verify(second, image.reference);
  assert.match(text, /this node needs no registry for it\n\nindex +sha256:[0-9a-f]{12} .* a peer\n/);
  const peer = `${first.address}:29982`;
  assert.equal(text.split(` a peer, ${peer}\n`).length, 4, text);
  assert.match(text, /\n8\.0 MB from \S+ in \d\.\d+ s, .*B a second\nexit 0\n$/);
  assert.ok(text.includes(`8.0 MB from ${peer} in`), text);
  assert.match(
    await verify(second, 'upstream.lab:5000/team/other:v1'),
    /1 of 1 parts come from the registry\n[\s\S]*exit 1\n$/,
  );
  assert.match(await verify(second, 'app'), /exit 2\n$/);
  // The mirror asks it who may read the image; of the image it sends nothing.
  assert.equal((await lab.upstream.stats()).bytes, 0);
  await lab.upstream.push('team/secret:v1', { seed: 'secret', layers: LAYERS });
  await first.pull('upstream.lab:5000/team/secret:v1');
  await lab.upstream.lock('basic');
  assert.match(
    await verify(second, 'upstream.lab:5000/team/secret:v1'),
    /this command has no pull secret\n\n[\s\S]* whoever proves the right to it\nexit 1\n$/,
  );
});
