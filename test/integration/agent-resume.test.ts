/** A layer whose mirror goes away in the middle, and stays away: the agent goes on at the registry, and buildah sees nothing of it. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { until } from '../lab/namespace.ts';
import { startPod } from './agent-pod.ts';

const DEADLINE_MS = 120_000;
const LAYER_BYTES = 30_000_000;

test('a layer goes on at its registry when the mirror hangs, and the mirror is used again when it is back', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const { lab, pod, holder, node, startAgent, pull, metric } = await startPod(t, signal);
  const image = await lab.upstream.push('team/large:v1', { seed: 'large', layers: [{ bytes: LAYER_BYTES }] }, signal);
  const pinned = `${lab.upstream.host}/team/large@${image.digest}`;
  await holder.pull(image.reference);
  await startAgent();
  await lab.upstream.resetStats();
  await node.limitRate({ send: 10_000_000, receive: 10_000_000 });
  const received = async () => {
    const { stdout } = await pod.exec(['cat', '/proc/net/dev'], {}, signal);
    return Number(/eth0: *(\d+)/.exec(stdout)?.[1]);
  };
  const before = await received();

  const pulled = pull(pinned);
  await until(async () => (await received()) > before + LAYER_BYTES / 3, signal);
  const mirror = node.mirror()?.pid() ?? assert.fail('there is no mirror');
  process.kill(mirror, 'SIGSTOP');
  const stoppedAt = performance.now();
  await pulled;
  t.diagnostic(`pulled ${Math.round(performance.now() - stoppedAt)} ms after the mirror had stopped`);

  const { blobGets, manifestGets, bytes } = await lab.upstream.stats();
  t.diagnostic(`${bytes} bytes from the registry`);
  assert.deepEqual({ blobGets, manifestGets }, { blobGets: 1, manifestGets: 0 });
  assert.ok(bytes > 0 && bytes < LAYER_BYTES);
  assert.equal(await metric(pod, /^miroir_agent_resumes_total\{source="registry"\} (\d+)$/m), 1);

  process.kill(mirror, 'SIGCONT');
  await node.limitRate(undefined);
  // A mirror that was stopped has lost its peers for a moment: what it lacks until then comes from the registry.
  const isAllFromMirrors = async () => {
    await lab.upstream.resetStats();
    await pull(pinned);
    return (await lab.upstream.stats()).requests === 0;
  };
  await until(isAllFromMirrors, signal);
});
