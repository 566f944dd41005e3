/** The node's own mirror and containerd, while a peer serves the image. */
import { setTimeout as delay } from 'node:timers/promises';
import { until } from '../lab/namespace.ts';
import type { Place } from './answers.ts';
import type { Fault } from './fault.ts';
import type { PeerContent } from './faulty-peer.ts';
import { dealsWith, each, midwayOf, signalMirror, startMirrors } from './scene.ts';

/** How long a frozen mirror stays so before it is killed: with a kubelet half a minute, here less. */
const LIVENESS_MS = 1_500;

interface Phase {
  readonly name: string;
  readonly kind: PeerContent['kind'];
  readonly at: Place;
  readonly when: string;
}

const PHASES: readonly Phase[] = [
  { name: 'manifest', kind: 'manifest', at: 0, when: 'while it gets the manifest' },
  { name: '0', kind: 'layer', at: 0, when: 'before the first byte of a layer' },
  { name: 'half', kind: 'layer', at: 'half', when: 'in the middle of a layer' },
  { name: 'last', kind: 'layer', at: -1, when: 'before the last byte of a layer' },
];

const AT_ONCE = { boundMs: 1_500, why: 'at once' };

const startAgain: Fault['after'] = async (row) => {
  await each(row, ({ node }) => node.stopMirror('SIGKILL'));
  await startMirrors(row);
};

export const MIRROR_FAULTS: readonly Fault[] = [
  {
    name: 'own-absent',
    title: 'does not run',
    source: 'peer',
    before: (row) => each(row, ({ node }) => node.stopMirror('SIGKILL')),
    after: startMirrors,
    ...AT_ONCE,
  },
  ...PHASES.map(
    ({ name, kind, at, when }): Fault => ({
      name: `own-killed-${name}`,
      title: `is killed ${when}`,
      source: 'peer',
      answer: (row) => dealsWith(row, kind, at, ({ node }) => node.stopMirror('SIGKILL')),
      after: startAgain,
      ...AT_ONCE,
    }),
  ),
  ...PHASES.map(
    ({ name, kind, at, when }): Fault => ({
      name: `own-stopped-${name}`,
      title: `is stopped ${when}`,
      source: 'peer',
      answer: (row) => dealsWith(row, kind, at, (cell) => signalMirror(cell, 'SIGTERM')),
      after: startAgain,
      ...AT_ONCE,
    }),
  ),
  {
    name: 'own-restarted',
    title: 'is restarted in the middle of a layer',
    source: 'peer',
    answer: (row) =>
      dealsWith(row, 'layer', 'half', async ({ node }) => {
        await node.stopMirror('SIGKILL');
        await node.startMirror([], row.signal);
      }),
    after: (row) => each(row, ({ node }) => until(() => node.mirror() !== undefined, row.signal)),
    ...AT_ONCE,
  },
  {
    name: 'own-frozen',
    title: `hangs in the middle of a layer, and is killed ${LIVENESS_MS / 1000} s later, as its liveness probe does`,
    source: 'peer',
    answer: (row) =>
      dealsWith(row, 'layer', 'half', async (cell) => {
        signalMirror(cell, 'SIGSTOP');
        await delay(LIVENESS_MS);
        await cell.node.stopMirror('SIGKILL');
      }),
    after: startAgain,
    boundMs: 1_500 + LIVENESS_MS,
    why: 'until it is killed',
  },
  {
    name: 'own-containerd-restarted',
    title: 'stays, and containerd is restarted in the middle of a layer',
    source: 'node',
    // Slowly, so that it is in the middle of a layer for long enough.
    upstream: (upstream) => upstream.throttle({ perConnection: 2_000_000 }),
    before: ({ other, signal }) => other.limitRate({ send: 6_000_000 }, signal),
    during: (row) =>
      each(row, async (cell) => {
        await midwayOf(row, cell);
        await cell.node.restartContainerd('SIGKILL');
      }),
    happensWithout: true,
    after: ({ other, signal }) => other.limitRate(undefined, signal),
    without: 'fails',
    outcome: 'fails once',
    ...AT_ONCE,
  },
];
