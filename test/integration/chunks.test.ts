/** containerd fetches the parts of a layer at once (`concurrent_layer_fetch_buffer`), and all from who sent the first of them. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { onThe, refuses } from '../faults/answers.ts';
import { type Answer, honestly, startFaultyPeer } from '../faults/faulty-peer.ts';
import { readImage } from '../faults/peer-content.ts';
import { largeLayer } from '../faults/scene.ts';
import { inChunks } from '../faults/stage.ts';
import { createLab } from '../lab/lab.ts';
import { until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import { ingestedBytes } from './ingested-bytes.ts';

const DEADLINE_MS = 60_000;
const LAYER_BYTES = 12_000_000;
const SOME_BYTES = 2_000_000;
/** Of each answer: containerd goes on as long as it gets on. */
const CUT_BYTES = 500_000;

test('a layer whose rest only one peer has, and that one only once, is pulled', { timeout: DEADLINE_MS }, async (t) => {
  const signal = AbortSignal.timeout(DEADLINE_MS);
  const lab = await createLab({ nodes: [{ containerd: '2.4', configToml: inChunks }] }, signal);
  t.after(() => lab.down());
  const [node] = lab.nodes as readonly [LabNode];
  await node.configure();
  await node.startMirror([], signal);
  const image = await lab.upstream.push('team/app:v1', { seed: 'chunks', layers: [{ bytes: LAYER_BYTES }] });
  await lab.upstream.throttle({ total: 2_000_000 });
  const pulled = node.pull(image.reference, {}, signal);
  await until(() => ingestedBytes(node, [largeLayer(image)]) >= SOME_BYTES, signal);

  const peer = await startFaultyPeer(
    {
      host: lab.address,
      swarmKeyFile: lab.swarmKeyFile,
      members: [node.address],
      contents: await readImage(lab, image, signal),
      answer: onThe('layer', once(honestly, refuses(404))),
    },
    signal,
  );
  t.after(() => peer.stop());
  await lab.upstream.break({ kind: 'cut', afterBytes: CUT_BYTES });
  await until(
    async () => (await lab.upstream.stats()).log.some(({ status, bytes }) => status === 206 && bytes === CUT_BYTES),
    signal,
  );
  await lab.upstream.break(undefined);

  await assert.doesNotReject(pulled);
});

/** Answers so the first time, and otherwise from then on. */
function once(first: Answer, then: Answer): Answer {
  let isOver = false;
  return (asked) => {
    const answer = isOver ? then : first;
    isOver = true;
    return answer(asked);
  };
}
