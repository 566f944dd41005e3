/** Nodes that reach each other by IPv6 alone, or one by it and the other by IPv4. containerd still asks its mirror at 127.0.0.1. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { createLab } from '../lab/lab.ts';
import { until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import { canGet } from './can-get.ts';

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

for (const { title, router, kinds } of [
  { title: 'a node pulls from another one by IPv6, one-hop', router: 'one-hop', kinds: [6, 6] },
  { title: 'a node pulls from another one by IPv6, kad', router: 'kad', kinds: [6, 6] },
  { title: 'a node of IPv6 pulls from one of IPv4 that listens on both', router: 'one-hop', kinds: [4, 6] },
  { title: 'a node of IPv4 pulls from one of IPv6 that listens on both', router: 'one-hop', kinds: [6, 4] },
]) {
  test(title, async (t) => {
    const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
    const lab = await createLab({ nodes: [{ containerd: '1.6.20' }, { containerd: '2.4' }] }, signal);
    t.after(() => lab.down());
    const [holder, puller] = lab.nodes as readonly [LabNode, LabNode];
    const addresses = lab.nodes.map(({ address }, index) => (kinds[index] === 6 ? addressOf(index) : address));
    for (const [index, node] of lab.nodes.entries()) {
      await node.configure([], signal);
      await node.exec(['ip', '-6', 'address', 'add', `${addressOf(index)}/64`, 'dev', 'eth0', 'nodad'], {}, signal);
      if (!kinds.includes(4)) {
        await node.block(
          lab.nodes.filter((other) => other !== node),
          signal,
        );
      }
    }
    for (const [index, node] of lab.nodes.entries()) {
      const whereabouts = ['--advertise-address', addresses[index] as string, '--members', addresses.join(',')];
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
