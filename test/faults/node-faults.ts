/** Another node, its mirror, its disk, and the network in between: the node has the image, or is just pulling it. */
import fs from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Fault, Row } from './fault.ts';
import { blobFile, each, largeLayer, midway, signalMirror } from './scene.ts';

const AT_ONCE = { boundMs: 1_500, why: 'at once' };
const NO_PROGRESS = { boundMs: 6_000, why: 'less than 64 KB in 3 s' };
const NO_LEADER = { boundMs: 4_500, why: 'nothing new from the leader in 2 s' };

/** Slow enough for its transfers to be broken in their middle. */
const SLOW_BYTES_PER_SECOND = 12_000_000;
const PARTITION_MS = 2_000;

const slowly: Pick<Fault, 'source' | 'before' | 'after'> = {
  source: 'node',
  before: ({ other, signal }) => other.limitRate({ send: SLOW_BYTES_PER_SECOND }, signal),
  after: ({ other, signal }) => other.limitRate(undefined, signal),
};

const partition = (row: Row, isOn: boolean) => each(row, ({ node }) => node.block(isOn ? [row.other] : [], row.signal));

const powerCut = async ({ other, signal }: Row) => {
  await other.kill();
  await other.boot(signal);
};

export const HOLDER_FAULTS: readonly Fault[] = [
  { name: 'holder-honest', title: 'serves the image as it should', source: 'node', ...AT_ONCE },
  {
    name: 'holder-killed',
    title: 'has its mirror killed in the middle of a layer',
    ...slowly,
    during: async (row) => {
      await midway(row);
      await row.other.stopMirror('SIGKILL');
    },
    ...AT_ONCE,
  },
  {
    name: 'holder-stopped',
    title: 'has its mirror stopped in the middle of a layer',
    ...slowly,
    during: async (row) => {
      await midway(row);
      await row.other.stopMirror();
    },
    ...AT_ONCE,
  },
  {
    name: 'holder-frozen',
    title: 'hangs in the middle of a layer',
    ...slowly,
    during: async (row) => {
      await midway(row);
      signalMirror({ node: row.other }, 'SIGSTOP');
    },
    ...NO_PROGRESS,
  },
  {
    name: 'holder-power-cut',
    title: 'loses its power in the middle of a layer',
    source: 'node',
    before: slowly.before as NonNullable<Fault['before']>,
    during: async (row) => {
      await midway(row);
      await powerCut(row);
    },
    ...NO_PROGRESS,
  },
  {
    name: 'holder-blackholed',
    title: 'is not reached by any packet',
    source: 'node',
    before: (row) => partition(row, true),
    after: (row) => partition(row, false),
    boundMs: 4_500,
    why: 'no connection in 0.5 s, twice; no answer to lookups',
  },
  {
    name: 'holder-unplugged',
    title: 'loses its network in the middle of a layer',
    ...slowly,
    during: async (row) => {
      await midway(row);
      await partition(row, true);
    },
    after: async (row) => {
      await partition(row, false);
      await row.other.limitRate(undefined, row.signal);
    },
    ...NO_PROGRESS,
  },
  {
    name: 'swarm-healed',
    title: `is in another part of the network for ${PARTITION_MS / 1000} s`,
    ...slowly,
    during: async (row) => {
      await midway(row);
      await partition(row, true);
      await delay(PARTITION_MS);
      await partition(row, false);
    },
    ...NO_PROGRESS,
  },
  {
    name: 'holder-disk',
    title: 'has a layer that ends early on its disk, of which the pull is told in the middle',
    ...slowly,
    during: async (row) => {
      await midway(row);
      for (const { image } of row.cells) fs.truncateSync(blobFile(row.other, largeLayer(image)), 2_000_000);
    },
    ...AT_ONCE,
  },
  {
    name: 'holder-containerd-restarted',
    title: 'has its containerd killed and restarted in the middle of a layer',
    ...slowly,
    during: async (row) => {
      await midway(row);
      await row.other.restartContainerd('SIGKILL');
    },
    ...AT_ONCE,
  },
  {
    name: 'holder-clock',
    title: 'is an hour ahead',
    source: 'node',
    isSourceAhead: true,
    ...AT_ONCE,
  },
];

export const LEADER_FAULTS: readonly Fault[] = [
  { name: 'leader-honest', title: 'goes on pulling', source: 'leader', ...AT_ONCE },
  {
    name: 'leader-cancelled',
    title: 'has its pull cancelled by its user, so that what it has is deleted under the followers',
    source: 'leader',
    during: async (row) => {
      await midway(row);
      row.leading.abort();
    },
    ...NO_LEADER,
  },
  {
    name: 'leader-mirror-killed',
    title: 'has its mirror killed',
    source: 'leader',
    during: async (row) => {
      await midway(row);
      await row.other.stopMirror('SIGKILL');
    },
    ...NO_LEADER,
  },
  {
    name: 'leader-containerd-killed',
    title: 'has its containerd killed and restarted',
    source: 'leader',
    during: async (row) => {
      await midway(row);
      await row.other.restartContainerd('SIGKILL');
    },
    ...NO_LEADER,
  },
  {
    name: 'leader-power-cut',
    title: 'loses its power',
    source: 'leader',
    during: async (row) => {
      await midway(row);
      await powerCut(row);
    },
    ...NO_PROGRESS,
  },
  {
    name: 'leader-frozen',
    title: 'hangs',
    source: 'leader',
    during: async (row) => {
      await midway(row);
      row.other.freeze();
    },
    after: async ({ other }) => other.thaw(),
    ...NO_PROGRESS,
  },
  {
    name: 'leader-unplugged',
    title: 'loses its network',
    source: 'leader',
    during: async (row) => {
      await midway(row);
      await partition(row, true);
    },
    after: (row) => partition(row, false),
    ...NO_PROGRESS,
  },
  {
    name: 'leader-follower-killed',
    title: 'goes on pulling, and the mirrors of its followers are killed',
    source: 'leader',
    during: async (row) => {
      await midway(row);
      await each(row, ({ node }) => node.stopMirror('SIGKILL'));
    },
    after: (row) => each(row, ({ node }) => node.startMirror([], row.signal)),
    ...AT_ONCE,
  },
  { name: 'leader-clock', title: 'is an hour ahead', source: 'leader', isSourceAhead: true, ...AT_ONCE },
];
