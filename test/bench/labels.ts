/** How long a verdict that changes on all nodes takes to be on their labels, and what it costs the apiserver. */
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { eachAtOnce } from '../../webhook/gate/each-at-once.ts';
import { createMirrors, type FakeMirror, readMetric, readNodes, type Says } from '../integration/gate-nodes.ts';
import { createWebhookCluster, HEALTH_PORT, NAMESPACE } from '../integration/webhook-cluster.ts';
import { atMost, type BenchOptions, type BenchResult, rounded } from './bench.ts';

const BUILT = path.join(import.meta.dirname, '..', '..', 'dist', 'miroir');
const NODES = 1_000;
/** Of the apiserver, which has to be filled first. */
const CREATIONS_AT_ONCE = 32;
/** Two rounds in which every mirror is asked again. */
const QUIET_MS = 35_000;
const LOOK_MS = 500;

const SECONDS_MAX = 60;
const WRITES_MAX = 2;

export async function run({ progress, signal }: BenchOptions): Promise<BenchResult> {
  if (!fs.existsSync(BUILT)) throw new Error('dist/miroir is missing: npm run build');
  const closing: (() => unknown)[] = [];
  const after = (close?: unknown) => void closing.push(close as () => unknown);
  try {
    const cluster = await createWebhookCluster({ signal, after }, { program: [BUILT] });
    const { call } = cluster.plane;
    const mirrors = await createMirrors({ after }, call, NAMESPACE);
    const fakes: FakeMirror[] = [];
    await eachAtOnce(
      Array.from({ length: NODES }, (_, index) => `node-${index}`),
      CREATIONS_AT_ONCE,
      async (name) => {
        await call('POST', '/api/v1/nodes', { metadata: { name } });
        fakes.push(await mirrors.add(name, 'compatible'));
      },
    );
    progress(`${NODES} nodes are there, each with a mirror`);
    const writes = async () =>
      (await readMetric(`${cluster.plane.address}:${HEALTH_PORT}`, 'miroir_gate_node_writes_total')) ?? 0;

    /** Until all nodes are labelled so. */
    const measure = async (change: string, word: Says, act: () => unknown) => {
      const [startedAt, before] = [performance.now(), await writes()];
      await act();
      const isOn = async () =>
        [...(await readNodes(call)).values()].every(
          ({ metadata }) => metadata.labels?.['miroir.dev/containerd'] === word,
        );
      for (; !(await isOn()); await delay(LOOK_MS, undefined, { signal })) signal.throwIfAborted();
      const seconds = (performance.now() - startedAt) / 1000;
      progress(`${change}: ${rounded(seconds)} s`);
      return { change, seconds, 'writes a node': ((await writes()) - before) / NODES };
    };
    const say = (word: Says) => () => {
      for (const fake of fakes) fake.say(word);
    };
    const rows = [
      await measure('the webhook starts', 'compatible', () =>
        cluster.startWebhook(0, [`--mirror-health-port=${mirrors.port}`]),
      ),
      await measure('all become incompatible', 'incompatible', say('incompatible')),
      await measure('all become compatible', 'compatible', say('compatible')),
    ];
    const before = await writes();
    await delay(QUIET_MS, undefined, { signal });
    const needless = (await writes()) - before;
    return {
      name: 'labels',
      unit: `${NODES} nodes, one replica that leads`,
      rows: rows.map(({ seconds, ...row }) => ({ ...row, seconds: rounded(seconds) })),
      limits: [
        atMost(
          's from a verdict that changes to the labels of all',
          Math.max(...rows.map(({ seconds }) => seconds)),
          SECONDS_MAX,
        ),
        atMost('writes a node for a change', Math.max(...rows.map((row) => row['writes a node'])), WRITES_MAX),
        atMost(`writes in ${QUIET_MS / 1000} s in which nothing changes`, needless, 0),
      ],
    };
  } finally {
    for (const close of closing.toReversed()) await close();
  }
}
