/** What the documents tell people to run as root, on their machine and on nodes: as it is written there. */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { ROOT } from '../documented/read-commands.ts';
import { documentedAt } from '../documented/run-documented.ts';
import { createLab } from '../lab/lab.ts';
import { type Program, run, until } from '../lab/namespace.ts';
import type { LabNode } from '../lab/node.ts';
import { READY_URL } from '../lab/node-mirror.ts';
import { canGet } from './can-get.ts';

const DEADLINE_MS = 2 * 60_000;

test('on a machine', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const bash = (script: string) => run(['bash', '-c', `cd ${ROOT} && ${script}`], { title: script }, signal);

  for (const { command, run: runIt } of documentedAt('machine', { bash })) await t.test(command, runIt);
});

test('on a node', async (t) => {
  const signal = AbortSignal.any([t.signal, AbortSignal.timeout(DEADLINE_MS)]);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'documented-'));
  t.after(() => fs.rmSync(folder, { recursive: true }));
  const bin = path.join(folder, 'bin');
  fs.mkdirSync(bin);
  const lab = await createLab({ nodes: [{ containerd: '2.4' }, { containerd: '1.6.20' }] }, signal);
  t.after(() => lab.down());
  const [node, holder] = lab.nodes as readonly [LabNode, LabNode];
  const image = await lab.upstream.push('team/app:v1', { seed: 'documented', layers: [{ bytes: 300_000 }] }, signal);
  await holder.pull(image.reference, {}, signal);
  const inFolder = (script: string) => ['bash', '-c', `PATH=${bin}:$PATH; cd ${folder} && ${script}`];
  let mirrors: readonly Program[] = [];
  const place = {
    bash: (script: string) => node.exec(inFolder(script), { title: script }, signal),
    start: async (script: string) => {
      await Promise.all(mirrors.map((mirror) => mirror.stop()));
      mirrors = lab.nodes.map((each) => each.start('mirror', inFolder(`exec ${script}`)));
      const isReady = (each: LabNode) =>
        each.fetch(READY_URL).then(
          ({ status }) => status === 200,
          () => false,
        );
      const areReady = async () =>
        (await Promise.all(lab.nodes.map(isReady))).every(Boolean) && (await canGet(node, image));
      await until(areReady, signal, () => mirrors.map((mirror) => mirror.logTail()).join('\n'));
    },
    with: {
      '/opt/miroir': ROOT,
      '/usr/local/bin': bin,
      '/etc/miroir': path.join(folder, 'etc'),
      MEMBERS: lab.nodes.map(({ address }) => address).join(','),
      'registry.example': lab.upstream.host,
    },
  };

  for (const { command, run: runIt } of documentedAt('node', place)) await t.test(command, runIt);
});
