import assert from 'node:assert/strict';
import fs from 'node:fs';
import test, { type TestContext } from 'node:test';
import { createLab, type Lab, type LabOptions } from '../lab/lab.ts';
import type { LabNode } from '../lab/node.ts';
import { isAlive } from '../lab/process-id.ts';
import type { PushedImage } from '../lab/push.ts';

const VERSIONS = ['1.6.20', '2.4'];
const USER = { username: 'lab', password: 'secret' };
/** Small enough to be pulled in a fraction of a second, large enough to be told from a manifest. */
const LAYER_BYTES = 300_000;
/** A kill, a boot and two requests; who speaks to a card that is gone tries for five seconds at least. */
const REACHED_MS_MAX = 4_000;

type TwoNodes = Lab & { readonly nodes: readonly [LabNode, LabNode] };

async function startLab(t: TestContext, options: Partial<LabOptions> = {}): Promise<TwoNodes> {
  const lab = await createLab({ nodes: VERSIONS.map((containerd) => ({ containerd })), ...options }, t.signal);
  t.after(() => lab.down());
  return lab as TwoNodes;
}

function blobsOf({ manifests }: PushedImage): string[] {
  return manifests.flatMap(({ config, layers }) => [config.digest, ...layers.map(({ digest }) => digest)]);
}

test('both containerds pull an image, and the upstream tells what they fetched', async (t) => {
  const lab = await startLab(t);
  const layers = [{ bytes: LAYER_BYTES }, { bytes: LAYER_BYTES, gzip: true }];
  const image = await lab.upstream.push('team/app:v1', { seed: 'counted', layers });
  const manifest = image.manifests[0];

  for (const node of lab.nodes) {
    await t.test(`containerd ${node.containerdVersion}`, async (t) => {
      await lab.upstream.resetStats();

      const { imageId } = await node.pull(image.reference, {}, t.signal);
      const stats = await lab.upstream.stats();

      assert.equal(imageId, manifest?.config.digest);
      assert.deepEqual([stats.manifestHeads, stats.manifestGets, stats.blobGets], [1, 1, 3]);
      for (const { digest, size } of [...(manifest?.layers ?? []), ...(manifest ? [manifest.config] : [])]) {
        assert.deepEqual(stats.byDigest[digest], { gets: 1, heads: 0, refused: 0, bytes: size });
      }
      assert.deepEqual(stats.byDigest[image.digest], { gets: 1, heads: 1, refused: 0, bytes: manifest?.size });
      assert.equal(stats.byPath['HEAD /v2/team/app/manifests/v1'], 1);
      assert.deepEqual(new Set(stats.log.map(({ client }) => client)), new Set([node.address]));
    });
  }

  await t.test('what a node has it does not fetch again', async (t) => {
    await lab.upstream.resetStats();

    await lab.nodes[0].pull(image.reference, {}, t.signal);
    const stats = await lab.upstream.stats();

    assert.deepEqual([stats.manifestGets, stats.blobGets, stats.bytes], [0, 0, 0]);
  });

  await t.test('what it pulls past the proxy is not counted', async (t) => {
    const direct = await lab.upstream.push('team/direct:v1', { seed: 'direct', layers });
    await lab.upstream.resetStats();

    for (const node of lab.nodes) await node.pull(direct.directReference, {}, t.signal);

    assert.equal((await lab.upstream.stats()).requests, 0);
  });

  await t.test('a removed image is fetched again', async (t) => {
    await lab.nodes[0].removeImage(image.reference, t.signal);
    await lab.upstream.resetStats();

    await lab.nodes[0].pull(image.reference, {}, t.signal);

    assert.equal((await lab.upstream.stats()).blobGets, 3);
  });

  await t.test('the same seed makes the same bytes, another seed others', async () => {
    const same = await lab.upstream.push('team/other:v1', { seed: 'counted', layers });
    const other = await lab.upstream.push('team/other:v2', { seed: 'another', layers });

    assert.equal(same.digest, image.digest);
    assert.equal(blobsOf(other).filter((digest) => blobsOf(image).includes(digest)).length, 0);
  });

  await t.test('a moved tag resolves to the new image', async (t) => {
    const next = await lab.upstream.push('team/app:v2', { seed: 'moved', layers });
    await lab.upstream.tag('team/app:v1', next.digest);

    const { imageId } = await lab.nodes[1].pull(image.reference, {}, t.signal);

    assert.equal(imageId, next.manifests[0]?.config.digest);
  });

  await t.test('of a multi-platform image a node fetches its own platform', async (t) => {
    const platforms = ['linux/s390x', `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`];
    const index = await lab.upstream.push('team/multi:v1', { seed: 'multi', layers, platforms });
    const [foreign, own] = index.manifests;
    for (const node of lab.nodes) {
      await lab.upstream.resetStats();

      const { imageId } = await node.pull(index.reference, {}, t.signal);
      const { byDigest } = await lab.upstream.stats();

      assert.equal(imageId, own?.config.digest);
      assert.deepEqual([byDigest[index.digest]?.gets, byDigest[own?.digest ?? '']?.gets], [1, 1]);
      assert.ok([foreign?.digest, foreign?.config.digest].every((digest) => !(digest && digest in byDigest)));
    }
  });
});

test('the upstream misbehaves on demand', async (t) => {
  const lab = await startLab(t);
  const pushOne = (tag: string, bytes = LAYER_BYTES) =>
    lab.upstream.push(`team/app:${tag}`, { seed: tag, layers: [{ bytes }] });

  for (const scheme of ['basic', 'token'] as const) {
    for (const node of lab.nodes) {
      await t.test(`containerd ${node.containerdVersion} needs the ${scheme} credentials`, async (t) => {
        const image = await pushOne(`${scheme}-${node.name}`);
        await lab.upstream.lock(scheme);
        t.after(() => lab.upstream.lock(undefined));
        await lab.upstream.resetStats();
        const wrong = { auth: { ...USER, password: 'guess' } };

        await assert.rejects(node.pull(image.reference, {}, t.signal));
        await assert.rejects(node.pull(image.reference, wrong, t.signal));
        const refused = await lab.upstream.stats();
        const { imageId } = await node.pull(image.reference, { auth: USER }, t.signal);

        assert.deepEqual([refused.manifestGets, refused.blobGets], [0, 0]);
        assert.ok(refused.log.some(({ status }) => status === 401));
        assert.equal(imageId, image.manifests[0]?.config.digest);
      });
    }
  }

  await t.test('stopped it refuses connections, started it serves again', async (t) => {
    const image = await pushOne('stopped');
    await lab.upstream.stop();

    await assert.rejects(lab.nodes[0].pull(image.reference, {}, t.signal), /connection refused/);
    await lab.upstream.start();
    await lab.nodes[0].pull(image.reference, {}, t.signal);
  });

  await t.test('broken it answers with the status', async (t) => {
    const image = await pushOne('broken');
    await lab.upstream.break(503);

    await assert.rejects(lab.nodes[1].pull(image.reference, {}, t.signal), /503/);
    await lab.upstream.break(undefined);
    await lab.nodes[1].pull(image.reference, {}, t.signal);
  });

  await t.test('a cut blob is resumed at the byte where it was cut', async (t) => {
    const image = await pushOne('cut');
    await lab.upstream.break({ kind: 'cut', afterBytes: 200_000 });
    t.after(() => lab.upstream.break(undefined));
    await lab.upstream.resetStats();

    await lab.nodes[0].pull(image.reference, {}, t.signal);
    const { log } = await lab.upstream.stats();
    const layer = image.manifests[0]?.layers[0];
    const ofLayer = log.filter(({ digest }) => digest === layer?.digest);

    assert.deepEqual(
      ofLayer.map(({ status, bytes, range }) => [status, bytes, range]),
      [
        [200, 200_000, undefined],
        [206, (layer?.size ?? 0) - 200_000, 'bytes=200000-'],
      ],
    );
  });

  await t.test('a delay holds back every request', async (t) => {
    const image = await pushOne('delayed');
    await lab.upstream.delay(100);
    t.after(() => lab.upstream.delay(0));
    await lab.upstream.resetStats();

    await lab.nodes[0].pull(image.reference, {}, t.signal);
    const { log } = await lab.upstream.stats();

    assert.ok(
      log.every(({ startedAtMs, endedAtMs }) => endedAtMs - startedAtMs >= 99),
      JSON.stringify(log),
    );
  });
});

test('the upstream is as fast as told: never faster, and slower only where the machine is busy', async (t) => {
  const lab = await startLab(t, {
    nodes: [{ containerd: '1.6.20' }],
    upstream: { throttle: { perConnection: 10e6, total: 20e6 } },
  });
  const bytes = 10_000_000;
  const layers = Array.from({ length: 4 }, () => ({ bytes }));
  const image = await lab.upstream.push('team/app:v1', { seed: 'rates', layers });
  const urls = (image.manifests[0]?.layers ?? []).map(
    ({ digest }) => `${lab.upstream.url}/v2/team/app/blobs/${digest}`,
  );
  const fetchAll = async (count: number) => {
    const startedAt = performance.now();
    await Promise.all(urls.slice(0, count).map(async (url) => (await fetch(url, { signal: t.signal })).arrayBuffer()));
    return (count * bytes) / ((performance.now() - startedAt) / 1000);
  };

  const one = await fetchAll(1);
  const four = await fetchAll(4);
  await lab.upstream.throttle(undefined);
  const free = await fetchAll(4);

  assert.ok(one < 1.05 * 10e6 && one > 0.6 * 10e6, `one connection: ${one} bytes per second`);
  assert.ok(four < 1.05 * 20e6 && four > 0.6 * 20e6, `four connections: ${four} bytes per second`);
  assert.ok(free > 2 * four, `unlimited: ${free} bytes per second`);
});

test('a node is cut off, slowed, frozen, restarted and switched off', async (t) => {
  const lab = await startLab(t);
  const [n1, n2] = lab.nodes;
  const ping = (from: LabNode, to: LabNode) =>
    from.exec(['busybox', 'ping', '-c', '1', '-W', '1', to.address], {}, t.signal);
  const program = n2.start('program', ['sleep', 'infinity']);
  const image = await lab.upstream.push('team/app:v1', { seed: 'node', layers: [{ bytes: 4_000_000 }] });

  await t.test('in the node programs see its own names, files and processes', async () => {
    const { stdout } = await n1.exec([
      'sh',
      '-c',
      'hostname; ls /run/containerd/containerd.sock; ctr version; ps -e | wc -l',
    ]);
    assert.match(stdout, /^n1\n\/run\/containerd\/containerd.sock\n/);
    assert.match(stdout, /Server:\n\s+Version:\s+v?1\.6\.20/);
    assert.ok(Number(stdout.trim().split('\n').at(-1)) < 10);
  });

  await t.test('blocked from another it does not reach it, nor is it reached', async () => {
    await ping(n1, n2);
    await n1.block([n2]);

    await assert.rejects(ping(n1, n2));
    await n1.pull(image.reference, {}, t.signal);
    await n1.block([]);
    await ping(n1, n2);
  });

  await t.test('its network card obeys a rate', async () => {
    await n2.limitRate({ receive: 4e6 });
    const { ms } = await n2.pull(image.reference, {}, t.signal);
    await n2.limitRate(undefined);

    assert.ok(ms > 900 && ms < 3000, `4 MB at 4 MB/s took ${ms} ms`);
  });

  await t.test('frozen it does not answer, thawed it does', async () => {
    n1.freeze();
    const hung = n1.cri.listImages(AbortSignal.timeout(300)).then(
      () => 'answered',
      () => 'hung',
    );
    assert.equal(await hung, 'hung');
    n1.thaw();

    assert.equal((await n1.cri.listImages(t.signal)).length, 1);
  });

  await t.test('its containerd restarts and has its images', async () => {
    const before = n1.containerd().pid();
    await n1.restartContainerd('SIGKILL');

    assert.notEqual(n1.containerd().pid(), before);
    assert.equal((await n1.cri.listImages(t.signal)).length, 1);
  });

  await t.test('a power cut ends all of it, and it comes back with its images', async () => {
    const holder = n2.holder();
    await n2.kill();

    assert.equal(isAlive(holder), false);
    await program.exited;
    await n2.boot(t.signal);
    assert.equal((await n2.cri.listImages(t.signal)).length, 1);
    assert.equal(fs.existsSync(n2.socket), true);
  });

  await t.test('the others reach the upstream whoever is switched off and on', async (t) => {
    for (const [one, other] of [
      [n1, n2],
      [n2, n1],
    ] as const) {
      const connect = `exec 3<>/dev/tcp/${lab.upstream.host.replace(':', '/')}`;
      const reach = () => other.exec(['bash', '-c', connect], {}, t.signal);
      await reach();
      await one.kill();
      const startedAt = performance.now();
      await reach();
      await one.boot(t.signal);
      await reach();
      assert.ok(performance.now() - startedAt < REACHED_MS_MAX);
    }
  });
});
