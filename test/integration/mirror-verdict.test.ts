/** A running mirror keeps its node's verdict while containerd is set up in another way and started again. */
import assert from 'node:assert/strict';
import fs from 'node:fs/promises';
import path from 'node:path';
import test from 'node:test';
import type { Verdict } from '../../containerd/verdict/verdict.ts';
import { createLab } from '../lab/lab.ts';
import { until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';

const DEADLINE_MS = 120_000;
/** The gate has a minute from a change to the node's label, so the mirror must notice within seconds. */
const NOTICED_MS = 30_000;

async function verdictOf(node: LabNode): Promise<Verdict> {
  const { body } = await node.fetch('http://127.0.0.1:29984/verdict');
  return JSON.parse(body.toString()) as Verdict;
}

async function untilVerdict(node: LabNode, is: (verdict: Verdict) => boolean): Promise<Verdict> {
  let verdict = await verdictOf(node);
  await until(
    async () => {
      verdict = await verdictOf(node);
      return is(verdict);
    },
    AbortSignal.timeout(NOTICED_MS),
    () => `${node.name} is still ${JSON.stringify(verdict)}`,
  );
  return verdict;
}

for (const { version, code } of [
  { version: '1.6.20', code: 'config-path-empty' },
  { version: '2.4', code: 'config-path-list' },
]) {
  test(`on containerd ${version} the mirror's verdict follows the configuration that containerd runs with`, async (t) => {
    const lab = await createLab({ nodes: [{ containerd: version }] }, AbortSignal.timeout(DEADLINE_MS));
    t.after(() => lab.down());
    const node = lab.nodes[0] as LabNode;
    const config = path.join(node.folder, 'etc-containerd/config.toml');
    const good = await fs.readFile(config, 'utf8');
    await node.configure();
    await node.startMirror();
    await untilVerdict(node, ({ result }) => result === 'compatible');

    await fs.writeFile(config, good.replace(/config_path = .*/, ''));
    const warned = await untilVerdict(node, ({ reasons }) => reasons.length > 0);
    await node.restartContainerd();
    const broken = await untilVerdict(node, ({ result }) => result === 'incompatible');
    await fs.writeFile(config, good);
    const unread = await untilVerdict(node, ({ reasons }) => reasons[0]?.code === 'not-restarted');
    await node.restartContainerd();
    const mended = await untilVerdict(node, ({ result }) => result === 'compatible');

    assert.deepEqual([warned.result, warned.reasons[0]?.code], ['compatible', 'config-differs'], 'it works until then');
    assert.deepEqual(
      broken.reasons.map((reason) => reason.code),
      [code],
    );
    assert.match(String(unread.reasons[0]?.fix), /restart containerd/);
    assert.deepEqual(mended.reasons, []);
  });
}
