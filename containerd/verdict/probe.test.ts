import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { parse } from 'smol-toml';
import { MiroirError } from '../../common/errors.ts';
import { GrpcError } from '../api/grpc.ts';
import { type ProbeDeps, probeHosts } from './probe.ts';

type Pull = ProbeDeps['cri']['pullImage'];

function folderOf(t: TestContext): string {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'miroir-probe-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  return folder;
}

function probe(certsDir: string, pullImage: Pull, signal: AbortSignal) {
  const cri = { pullImage, runtimeVersion: async () => '2.4.2' };
  return probeHosts({ cri }, { certsDir, deadlineMs: 200 }, signal);
}

/** Pulls as a containerd does that reads this folder: asks the host that hosts.toml names. */
const pullReading =
  (certsDir: string): Pull =>
  async ({ image }) => {
    const [, registry, tag] = /^([^/]+)\/probe:(.+)$/.exec(image) ?? [];
    const hosts = parse(fs.readFileSync(path.join(certsDir, registry as string, 'hosts.toml'), 'utf8'));
    const [host] = Object.keys(hosts['host'] as object);
    const { status } = await fetch(`${host}/v2/probe/manifests/${tag}?ns=${registry}`, { method: 'HEAD' });
    throw new GrpcError(2, `failed to resolve reference: ${status}`);
  };

const pullElsewhere: Pull = async () => {
  throw new GrpcError(2, 'failed to resolve reference "x": dial tcp: lookup x: no such host');
};

const pullHanging: Pull = (_request, signal) =>
  new Promise((_resolve, reject) => {
    const abort = () => reject(new MiroirError('ERR_ABORTED', 'aborted'));
    // On a busy machine the deadline is over before the pull begins.
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
  });

for (const { title, pull, outcome } of [
  { title: 'a containerd that reads the folder reaches', pull: pullReading, outcome: 'reached' },
  { title: 'one that looks the name up does not', pull: () => pullElsewhere, outcome: 'not-reached' },
  { title: 'one that looks the name up for ever does not', pull: () => pullHanging, outcome: 'not-reached' },
]) {
  test(`${title}, and nothing is left behind`, async (t) => {
    const certsDir = path.join(folderOf(t), 'not', 'there');

    const { kind } = await probe(certsDir, pull(certsDir), t.signal);

    assert.equal(kind, outcome);
    assert.equal(fs.existsSync(path.dirname(certsDir)), false);
  });
}

test('a containerd whose CRI plugin is still starting is asked again', async (t) => {
  const certsDir = folderOf(t);
  const pullAsking = pullReading(certsDir);
  let asked = 0;

  const outcome = await probe(
    certsDir,
    async (request, signal) => {
      asked += 1;
      if (asked === 1) throw new GrpcError(2, 'server is not initialized yet');
      return pullAsking(request, signal);
    },
    t.signal,
  );

  assert.deepEqual([outcome.kind, asked], ['reached', 2]);
});

for (const { title, error, why } of [
  {
    title: 'no CRI plugin',
    error: new GrpcError(12, 'unknown service runtime.v1.ImageService'),
    why: /without its CRI/,
  },
  { title: 'a failure that has nothing to do with registries', error: new GrpcError(2, 'disk full'), why: /disk full/ },
  { title: 'no containerd', error: new MiroirError('ERR_CONTAINERD_UNAVAILABLE', 'nobody answers'), why: /nobody/ },
]) {
  test(`with ${title} nothing was tried`, async (t) => {
    const outcome = await probe(
      folderOf(t),
      async () => {
        throw error;
      },
      t.signal,
    );

    assert.equal(outcome.kind, 'failed');
    assert.match('why' in outcome ? outcome.why : '', why);
  });
}

test('a hanging containerd tells nothing', async (t) => {
  const cri = { pullImage: pullHanging, runtimeVersion: (signal: AbortSignal) => pullHanging({ image: '' }, signal) };

  const outcome = await probeHosts({ cri }, { certsDir: folderOf(t), deadlineMs: 50 }, t.signal);

  assert.equal(outcome.kind, 'failed');
});

test('a folder that cannot be written tells nothing', async (t) => {
  const file = path.join(folderOf(t), 'file');
  fs.writeFileSync(file, '');

  const outcome = await probe(path.join(file, 'certs.d'), pullElsewhere, t.signal);

  assert.match('why' in outcome ? outcome.why : '', /cannot be written/);
});

test('being stopped is thrown, and nothing is left behind', async (t) => {
  const certsDir = folderOf(t);

  await assert.rejects(probe(certsDir, pullHanging, AbortSignal.timeout(20)), { code: 'ERR_ABORTED' });

  assert.deepEqual(fs.readdirSync(certsDir), []);
});

test('what a killed probe left is removed, and what another one is using is not', async (t) => {
  const certsDir = folderOf(t);
  const [old, fresh] = ['miroir-probe-00000000000a.invalid', 'miroir-probe-00000000000b.invalid'] as const;
  for (const name of [old, fresh]) fs.mkdirSync(path.join(certsDir, name));
  fs.utimesSync(path.join(certsDir, old), 0, 0);

  await probe(certsDir, pullElsewhere, t.signal);

  assert.deepEqual(fs.readdirSync(certsDir), [fresh]);
});
