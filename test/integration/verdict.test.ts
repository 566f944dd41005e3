/** `miroir check` on real containerds, each verdict held against what a pull really does. */
import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { runProgram } from '../../cli/program.ts';
import { createContainerdClient } from '../../containerd/api/client.ts';
import { createCriClient } from '../../containerd/api/cri.ts';
import type { Verdict } from '../../containerd/verdict/verdict.ts';
import { makeImage } from '../conformance/store-image.ts';
import { type RealContainerd, startContainerd } from './real-containerd.ts';
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
  });
}
