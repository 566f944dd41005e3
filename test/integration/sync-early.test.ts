/** What containerd receives from a peer is brought to disk while it arrives, where it writes it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLab } from '../lab/lab.ts';
import type { LabNode } from '../lab/node.ts';

const LAYER_BYTES = 80_000_000;
const SYNCS = /^miroir_relay_sync_seconds_count (\d+)$/m;

async function syncCount(node: LabNode): Promise<number> {
  const { body } = await node.fetch('http://127.0.0.1:29984/metrics');
  return Number(SYNCS.exec(body)?.[1]);
}

for (const containerd of ['2.4', '1.6.20']) {
  test(`containerd ${containerd}: a layer from a peer is on its way to the disk before it is whole`, {
    timeout: 120_000,
  }, async (t) => {
    const lab = await createLab({ nodes: [{ containerd }, { containerd }] }, t.signal);
    t.after(() => lab.down());
    const [holder, puller] = lab.nodes as [LabNode, LabNode];
    for (const node of lab.nodes) await node.configure();
    await Promise.all(lab.nodes.map((node) => node.startMirror()));
    const { reference } = await lab.upstream.push('sync/app:v1', { seed: 'sync', layers: [{ bytes: LAYER_BYTES }] });

    await holder.pull(reference, {}, t.signal);
    await puller.pull(reference, {}, t.signal);

    assert.equal(await syncCount(holder), 0, 'what comes from the registry does not pass a mirror');
    assert.ok((await syncCount(puller)) > 0);
  });
}
