/** Nodes that pull the same image at the same moment share what one of them gets from the registry. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab } from '../lab/lab.ts';

const LAYERS = 4;
const LAYER_BYTES = 8_000_000;

const AUTH = { username: 'lab', password: 'secret' };

for (const { latencyMs, scheme } of [
  { latencyMs: 20 },
  { latencyMs: 600 },
  { latencyMs: 20, scheme: 'token' },
] as const) {
  const where = `${latencyMs} ms away${scheme === undefined ? '' : `, locked by ${scheme},`}`;
  test(`four nodes of both containerds that pull at once from a registry ${where} cost it one copy`, {
    timeout: 120_000,
  }, async (t) => {
    const nodes = ['2.4', '1.6.20', '2.4', '1.6.20'].map((containerd) => ({ containerd }));
    const lab = await createLab({ nodes }, t.signal);
    t.after(() => lab.down());
    for (const node of lab.nodes) await node.configure();
    await Promise.all(lab.nodes.map((node) => node.startMirror()));
    const layers = Array.from({ length: LAYERS }, () => ({ bytes: LAYER_BYTES }));
    const image = await lab.upstream.push('herd/app:v1', { seed: 'herd', layers });
    await lab.upstream.lock(scheme);
    await lab.upstream.delay(latencyMs);
    await lab.upstream.throttle({ total: 10_000_000 });
    await lab.upstream.resetStats();

    await Promise.all(lab.nodes.map((node) => node.pull(image.reference, { auth: AUTH }, t.signal)));

    const { byDigest } = await lab.upstream.stats();
    const gets = Object.values(byDigest).map((stats) => stats.gets);
    assert.equal(gets.length, 2 + LAYERS, 'the manifest, the config and the layers');
    assert.deepEqual(new Set(gets), new Set([1]));
  });
}
