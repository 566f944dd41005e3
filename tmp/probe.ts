import { createLab } from '../test/lab/lab.ts';
import { REGISTRY_HOST, UPSTREAM_HOST } from '../test/lab/upstream.ts';

const signal = AbortSignal.timeout(200_000);
const lab = await createLab({ nodes: ['2.4', '2.4'].map((containerd) => ({ containerd })) } as any, signal);
const med = (x: number[]) => [...x].sort((a, b) => a - b)[x.length >> 1]!;

import { readFileSync } from 'node:fs';

const cpu = (pid: number) => {
  const f = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(f[11]) + Number(f[12])) * 10;
};
try {
  const [a, b] = lab.nodes as any[];
  for (const n of lab.nodes) await n.configure();
  await lab.upstream.push('bench/app:v1', { seed: 'bench', layers: [{ bytes: 300 * 1024 * 1024 }] });
  for (const mode of (process.argv[2] ?? 'on,off').split(',')) {
    await Promise.all(lab.nodes.map((n) => n.startMirror(['--peer-encryption', mode])));
    await a.pull(`${UPSTREAM_HOST}/bench/app:v1`);
    const d: number[] = [],
      p: number[] = [],
      ha: number[] = [],
      rb: number[] = [];
    const pa = a.mirror().pid(),
      pb = b.mirror().pid();
    for (let i = 0; i < 8; i++) {
      for (const [host, arr] of [
        [REGISTRY_HOST, d],
        [UPSTREAM_HOST, p],
      ] as const) {
        const ca = cpu(pa),
          cb = cpu(pb);
        const { ms } = await b.pull(`${host}/bench/app:v1`);
        if (arr === p) {
          ha.push(cpu(pa) - ca);
          rb.push(cpu(pb) - cb);
        }
        await b.removeImage(`${host}/bench/app:v1`);
        if (i > 0) arr.push(ms);
      }
    }
    console.log(
      mode,
      'direct',
      Math.round(med(d)),
      'peer',
      Math.round(med(p)),
      (med(p) / med(d)).toFixed(2),
      'cpu holder',
      med(ha),
      'relay',
      med(rb),
      d.map(Math.round).join(' '),
      '|',
      p.map(Math.round).join(' '),
    );
    await Promise.all(lab.nodes.map((n) => n.stopMirror()));
  }
} finally {
  await lab.down();
}
