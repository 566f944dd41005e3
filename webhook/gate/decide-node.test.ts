import assert from 'node:assert/strict';
import test from 'node:test';
import {
  decideNode,
  NO_MEMORY,
  type NodeChange,
  type NodeView,
  type SeenVerdict,
  SILENT,
  type Sighting,
} from './decide-node.ts';

const TIMES = { confirmMs: 10, silenceMs: 100, forgetMs: 1000 };
const UNTOUCHED: NodeView = { label: undefined, told: undefined };
const COMPATIBLE: NodeView = { label: 'compatible', told: 'compatible' };
const INCOMPATIBLE: NodeView = { label: 'incompatible', told: 'incompatible config-path-empty' };

function saw(result: SeenVerdict['result'], code?: string): Sighting {
  return { kind: 'verdict', verdict: { result, code, message: 'why' } };
}
const good = saw('compatible');
const bad = saw('incompatible', 'config-path-empty');
const unsure = saw('unknown', 'path-unproven');
const silent: Sighting = { kind: 'silent' };
const gone: Sighting = { kind: 'gone' };

/** Looks at a node at these times; what is decided is written. Tells what was, and when. */
function watch(node: NodeView, looks: readonly (readonly [at: number, sighting: Sighting])[]) {
  let view = node;
  let memory = NO_MEMORY;
  const writes: (readonly [number, string | undefined, string | undefined])[] = [];
  for (const [at, sighting] of looks) {
    const decision: { memory: typeof memory; change: NodeChange | undefined } = decideNode(
      view,
      memory,
      sighting,
      at,
      TIMES,
    );
    memory = decision.memory;
    if (!decision.change) continue;
    view = decision.change;
    writes.push([at, view.label, view.told]);
  }
  return writes;
}

for (const { title, node, looks, writes } of [
  {
    title: 'a compatible node without a label gets it at once',
    node: UNTOUCHED,
    looks: [[0, good]],
    writes: [[0, 'compatible', 'compatible']],
  },
  {
    title: 'nothing is written where nothing changed',
    node: COMPATIBLE,
    looks: [
      [0, good],
      [20, good],
      [5000, good],
    ],
    writes: [],
  },
  {
    title: 'an incompatible verdict must be seen twice',
    node: COMPATIBLE,
    looks: [
      [0, bad],
      [20, bad],
      [40, bad],
    ],
    writes: [[20, 'incompatible', INCOMPATIBLE.told]],
  },
  {
    title: 'twice is not enough when it is too soon',
    node: UNTOUCHED,
    looks: [
      [0, bad],
      [9, bad],
    ],
    writes: [],
  },
  {
    title: 'a verdict that changes back was nothing',
    node: COMPATIBLE,
    looks: [
      [0, bad],
      [20, good],
      [40, bad],
      [60, good],
    ],
    writes: [],
  },
  {
    title: 'an incompatible node is compatible when that was seen twice',
    node: INCOMPATIBLE,
    looks: [
      [0, good],
      [20, good],
    ],
    writes: [[20, 'compatible', 'compatible']],
  },
  {
    title: 'unknown leaves the label, and is told when it stands',
    node: COMPATIBLE,
    looks: [
      [0, unsure],
      [20, unsure],
      [40, unsure],
    ],
    writes: [[20, 'compatible', 'unknown path-unproven']],
  },
  {
    title: 'silence between two words does not take the first one back',
    node: COMPATIBLE,
    looks: [
      [0, bad],
      [20, silent],
      [40, bad],
    ],
    writes: [[40, 'incompatible', INCOMPATIBLE.told]],
  },
  {
    title: 'a mirror that is silent for a while says nothing',
    node: COMPATIBLE,
    looks: [
      [0, silent],
      [99, silent],
      [120, good],
    ],
    writes: [],
  },
  {
    title: 'a mirror that is silent for long is told, and leaves the label',
    node: INCOMPATIBLE,
    looks: [
      [0, silent],
      [100, silent],
      [5000, silent],
    ],
    writes: [[100, 'incompatible', SILENT]],
  },
  {
    title: 'a mirror that answers again is told at once',
    node: { label: 'compatible', told: SILENT },
    looks: [[0, good]],
    writes: [[0, 'compatible', 'compatible']],
  },
  {
    title: 'a node without a mirror is forgotten after long, and once',
    node: COMPATIBLE,
    looks: [
      [0, gone],
      [999, gone],
      [1000, gone],
      [5000, gone],
    ],
    writes: [[1000, undefined, undefined]],
  },
  {
    title: 'a mirror that comes back in time was never gone',
    node: COMPATIBLE,
    looks: [
      [0, gone],
      [900, good],
      [1100, gone],
      [2000, gone],
    ],
    writes: [],
  },
  {
    title: 'what somebody wrote by hand on a node that has no mirror stays',
    node: { label: 'incompatible', told: undefined },
    looks: [
      [0, gone],
      [5000, gone],
    ],
    writes: [],
  },
  {
    title: 'another reason is told, and is one write',
    node: INCOMPATIBLE,
    looks: [
      [0, saw('incompatible', 'layers-discarded')],
      [20, saw('incompatible', 'layers-discarded')],
    ],
    writes: [[20, 'incompatible', 'incompatible layers-discarded']],
  },
] as const) {
  test(title, () => {
    assert.deepEqual(watch(node, looks), writes);
  });
}
