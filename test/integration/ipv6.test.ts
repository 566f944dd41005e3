/** Nodes that reach each other by IPv6 alone. containerd still asks its mirror at 127.0.0.1. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { createLab } from '../lab/lab.ts';
import { until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import type { PushedImage } from '../lab/push.ts';
import { UPSTREAM_HOST } from '../lab/upstream.ts';

const DEADLINE_MS = 120_000;
const LAYERS = [{ bytes: 8_000_000 }, { bytes: 500_000, gzip: true }];
const LISTEN = [
  ['--peer-address', '[::]:29982'],
  ['--swarm-address', '[::]:29983'],
  ['--health-address', '[::]:29984'],
].flat();

/** As unique local addresses (RFC 4193) are, within the lab's own network. */
function addressOf(index: number): string {
  return `fd00:6d69:726f::${index + 1}`;
}

for (const router of ['one-hop', 'kad']) {
  test(`a node pulls from another one by IPv6, ${router}`, async (t) => {
    const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
    const lab = await createLab({ nodes: [{ containerd: '1.6.20' }, { containerd: '2.4' }] }, signal);
    t.after(() => lab.down());
    const [holder, puller] = lab.nodes as readonly [LabNode, LabNode];
    const members = lab.nodes.map((_, index) => addressOf(index)).join(',');
    for (const [index, node] of lab.nodes.entries()) {
      await node.configure([], signal);
      const address = addressOf(index);
      await node.exec(['ip', '-6', 'address', 'add', `${address}/64`, 'dev', 'eth0', 'nodad'], {}, signal);
      await node.block(
        lab.nodes.filter((other) => other !== node),
        signal,
      );
      const whereabouts = ['--advertise-address', address, '--members', members];
      await node.startMirror([...LISTEN, ...whereabouts, '--router', router], signal);
    }
    const image = await lab.upstream.push('team/app:v1', { seed: 'ipv6', layers: LAYERS }, signal);
    await holder.pull(image.reference, {}, signal);
    await lab.upstream.resetStats();
    await until(() => canGet(puller, image), signal);

    await puller.pull(image.reference, {}, signal);

    const { log } = await lab.upstream.stats();
    assert.deepEqual(
      log.filter(({ kind, method }) => method === 'GET' && (kind === 'blob' || kind === 'manifest')),
      [],
    );
  });
}

/** Whether its mirror knows who has the first layer. */
async function canGet(node: LabNode, { repository, manifests }: PushedImage): Promise<boolean> {
  const url = `http://127.0.0.1:29981/v2/${repository}/blobs/${manifests[0]?.layers[0]?.digest}?ns=${UPSTREAM_HOST}`;
  return (await node.fetch(url, { method: 'HEAD' })).status === 200;
}
