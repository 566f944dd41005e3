/** `miroir check` on real containerds, each verdict held against what a pull really does. */
import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { runProgram } from '../../cli/program.ts';
import { createContainerdClient } from '../../containerd/api/client.ts';
import { createCriClient } from '../../containerd/api/cri.ts';
import { gatherEvidence } from '../../containerd/verdict/gather-evidence.ts';
import type { ReasonCode, Verdict, VerdictResult } from '../../containerd/verdict/verdict.ts';
import { makeImage } from '../conformance/store-image.ts';
import { CONTAINERD_VERSIONS, type RealContainerd, startContainerd } from './real-containerd.ts';
import { startRegistry } from './small-registry.ts';
import { VERDICT_CASES, type VerdictCase } from './verdict-cases.ts';

const EXIT_CODES = { compatible: 0, incompatible: 1, unknown: 2 } as const;

async function startNode(t: TestContext, { version, configToml, dropIn }: VerdictCase): Promise<RealContainerd> {
  return startContainerd(t, version, {
    configToml: (good, folder) => configToml(good, folder),
    ...(dropIn !== undefined && { dropIns: { '10-test.toml': dropIn } }),
  });
}

async function check({ socket, configPath, certsDir }: RealContainerd, extraArgs: readonly string[] = []) {
  let stdout = '';
  const deps = {
    env: {},
    readFile: (file: string) => fs.readFile(file, 'utf8'),
    stdout: (text: string) => {
      stdout += text;
    },
    stderr: assert.fail,
    columns: undefined,
  };
  const flags = ['--containerd-socket', socket, '--config-path', configPath, '--certs-dir', certsDir, ...extraArgs];
  const exitCode = await runProgram(deps, ['check', '--json', ...flags], new AbortController().signal);
  return { exitCode, verdict: JSON.parse(stdout) as Verdict };
}

/** Whether the image that was pulled last has its layers, as the judge sees it. */
async function newestHasLayers(t: TestContext, { socket, certsDir, configPath }: RealContainerd) {
  const cri = createCriClient({ socket });
  const client = createContainerdClient({ socket, namespace: 'k8s.io' });
  try {
    const options = { socket, certsDir, configFile: configPath, isProbed: false };
    return (await gatherEvidence({ cri, client }, options, t.signal)).newestImage?.hasLayers;
  } finally {
    cri.close();
    client.close();
  }
}

/** What a pull of an image does that only the mirror has. */
async function pullFromMirror(t: TestContext, { socket, certsDir }: RealContainerd) {
  const image = makeImage('only the mirror has it');
  const mirror = await startRegistry(t);
  mirror.add('v1', image);
  const folder = path.join(certsDir, 'registry.example');
  await fs.mkdir(folder, { recursive: true });
  await fs.writeFile(path.join(folder, 'hosts.toml'), `[host."http://${mirror.host}"]\n`);
  const cri = createCriClient({ socket });
  const client = createContainerdClient({ socket, namespace: 'k8s.io' });
  try {
    const isPulled = await cri.pullImage({ image: 'registry.example/team/app:v1' }, t.signal).then(
      () => true,
      () => false,
    );
    if (!isPulled) return { reaches: mirror.requests.length > 0, keeps: undefined };
    // A layer that is to go is without a reference from the start; that one goes is containerd's own affair.
    const labels = (await client.content.info(image.digest, t.signal))?.labels ?? {};
    return { reaches: mirror.requests.length > 0, keeps: Object.values(labels).includes(image.layer) };
  } finally {
    cri.close();
    client.close();
  }
}

for (const one of VERDICT_CASES) {
  test(`containerd ${one.version}, ${one.title}: ${[one.result, ...one.codes].join(', ')}`, async (t) => {
    const node = await startNode(t, one);

    const { exitCode, verdict } = await check(node);

    assert.deepEqual(
      { result: verdict.result, codes: verdict.reasons.map(({ code }) => code) },
      { result: one.result, codes: one.codes },
      JSON.stringify(verdict, undefined, 2),
    );
    assert.equal(exitCode, EXIT_CODES[one.result]);
    assert.deepEqual(await fs.readdir(node.certsDir), [], 'the probe leaves nothing behind');
    assert.deepEqual(await pullFromMirror(t, node), { reaches: one.reaches, keeps: one.keeps });
    assert.equal(await newestHasLayers(t, node), one.keeps, 'the image itself tells the same');
  });
}

interface SpoiltConfig {
  readonly title: string;
  readonly spoil: (file: string) => Promise<void>;
  readonly isRestarted?: boolean;
  readonly result: VerdictResult;
  readonly codes: readonly ReasonCode[];
}

const LOOP = 'imports = ["config.toml", "loop.toml"]\n';

for (const version of CONTAINERD_VERSIONS) {
  for (const { title, spoil, isRestarted = false, result, codes } of [
    {
      title: 'is no TOML',
      spoil: (file: string) => fs.appendFile(file, '[plugins\n'),
      result: 'unknown',
      codes: ['config-invalid'],
    },
    {
      title: 'has 50 MB',
      spoil: (file: string) => fs.truncate(file, 50 * 1024 * 1024),
      result: 'unknown',
      codes: ['config-unreadable'],
    },
    {
      title: 'is a folder',
      spoil: async (file: string) => {
        await fs.rm(file);
        await fs.mkdir(file);
      },
      result: 'unknown',
      codes: ['config-unreadable'],
    },
    {
      title: 'is not to be seen from here',
      spoil: (file: string) => fs.rm(file),
      result: 'compatible',
      codes: ['config-unreadable'],
    },
    {
      title: 'imports itself in a circle, which containerd reads once',
      spoil: async (file: string) => {
        await fs.writeFile(path.join(path.dirname(file), 'loop.toml'), LOOP);
        await fs.writeFile(file, LOOP + (await fs.readFile(file, 'utf8')));
      },
      isRestarted: true,
      result: 'compatible',
      codes: [],
    },
  ] satisfies readonly SpoiltConfig[]) {
    test(`containerd ${version}, whose configuration ${title}: ${[result, ...codes].join(', ')}`, async (t) => {
      const node = await startContainerd(t, version);
      await pullFromMirror(t, node);
      await spoil(node.configPath);
      if (isRestarted) {
        await node.stop();
        await node.start();
      }

      const { exitCode, verdict } = await check(node);

      assert.deepEqual(
        { result: verdict.result, codes: verdict.reasons.map(({ code }) => code) },
        { result, codes },
        JSON.stringify(verdict, undefined, 2),
      );
      assert.equal(exitCode, EXIT_CODES[result]);
    });
  }
}
