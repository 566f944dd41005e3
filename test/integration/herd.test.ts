/** Nodes that pull the same image at the same moment share what one of them gets from the registry. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab } from '../lab/lab.ts';

const LAYERS = 4;
const LAYER_BYTES = 8_000_000;

test('four nodes of both containerds that pull at once cost the registry less than two copies', {
  timeout: 120_000,
}, async (t) => {
  const nodes = ['2.4', '1.6.20', '2.4', '1.6.20'].map((containerd) => ({ containerd }));
  const lab = await createLab({ nodes }, t.signal);
  t.after(() => lab.down());
  for (const node of lab.nodes) await node.configure();
  await Promise.all(lab.nodes.map((node) => node.startMirror()));
  const layers = Array.from({ length: LAYERS }, () => ({ bytes: LAYER_BYTES }));
  const image = await lab.upstream.push('herd/app:v1', { seed: 'herd', layers });
  await lab.upstream.delay(20);
  await lab.upstream.throttle({ total: 10_000_000 });
  await lab.upstream.resetStats();

  await Promise.all(lab.nodes.map((node) => node.pull(image.reference, {}, t.signal)));

  const { blobGets, bytes } = await lab.upstream.stats();
  // Without a mirror it is four copies; one is what is meant to be, and a busy machine may make it a little more.
  assert.ok(bytes < 2 * LAYERS * LAYER_BYTES, `${bytes} bytes in ${blobGets} requests`);
});
