/** Whatever mirrors say, in whatever order: nodes are written seldom, and for a reason. */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import {
  decideNode,
  NO_MEMORY,
  type NodeMemory,
  type NodeView,
  type Sighting,
} from '../../webhook/gate/decide-node.ts';

const TIMES = { confirmMs: 12_000, silenceMs: 120_000, forgetMs: 3_600_000 };
const INTERVAL_MS = 15_000;

const sighting: fc.Arbitrary<Sighting> = fc.oneof(
  fc
    .record({
      result: fc.constantFrom('compatible' as const, 'incompatible' as const, 'unknown' as const),
      code: fc.constantFrom('a', 'b'),
    })
    .map(({ result, code }) => ({
      kind: 'verdict' as const,
      verdict: { result, code: result === 'compatible' ? undefined : code, message: '' },
    })),
  fc.constantFrom({ kind: 'silent' as const }, { kind: 'gone' as const }),
);
/** Each lasts for some looks. */
const history = fc.array(fc.record({ sighting, looks: fc.integer({ min: 1, max: 20 }) }), { maxLength: 20 });
const view: fc.Arbitrary<NodeView> = fc.constantFrom(
  { label: undefined, told: undefined },
  { label: 'compatible', told: 'compatible' },
  { label: 'incompatible', told: 'incompatible a' },
  { label: 'by-hand', told: undefined },
);

interface Step {
  readonly at: number;
  readonly before: NodeView;
  readonly sighting: Sighting;
  readonly after: NodeView;
  readonly isWritten: boolean;
}

function live(
  start: NodeView,
  seen: readonly { readonly sighting: Sighting; readonly looks: number }[],
): readonly Step[] {
  let node = start;
  let memory: NodeMemory = NO_MEMORY;
  let at = 0;
  return seen
    .flatMap((one) => Array.from({ length: one.looks }, () => one.sighting))
    .map((current) => {
      at += INTERVAL_MS;
      const before = node;
      const decision = decideNode(before, memory, current, at, TIMES);
      memory = decision.memory;
      node = decision.change ?? before;
      return { at, before, sighting: current, after: node, isWritten: decision.change !== undefined };
    });
}

function resultOf(one: Sighting): string {
  return one.kind === 'verdict' ? one.verdict.result : one.kind;
}

test('what does not change is written once at most', () => {
  fc.assert(
    fc.property(view, history, sighting, (start, seen, last) => {
      const before = live(start, seen).length;

      const steps = live(start, [...seen, { sighting: last, looks: 500 }]).slice(before);

      assert.ok(steps.filter(({ isWritten }) => isWritten).length <= 1);
    }),
  );
});

test('a label changes only to what was seen now, and to incompatible only when that was seen before too', () => {
  fc.assert(
    fc.property(view, history, (start, seen) => {
      const steps = live(start, seen);
      for (const [index, { before, after, sighting: current }] of steps.entries()) {
        if (before.label === after.label) continue;
        if (current.kind === 'gone') assert.equal(after.label, undefined);
        else assert.equal(after.label, resultOf(current));
        const verdicts = steps.slice(0, index).filter((step) => step.sighting.kind === 'verdict');
        if (after.label === 'incompatible') {
          assert.equal(resultOf(verdicts.at(-1)?.sighting ?? { kind: 'gone' }), 'incompatible');
        }
      }
    }),
  );
});

test('what a mirror says for a minute is on its node, whatever was before', () => {
  fc.assert(
    fc.property(view, history, sighting, (start, seen, last) => {
      fc.pre(last.kind === 'verdict' && last.verdict.result !== 'unknown');

      const { after } = live(start, [...seen, { sighting: last, looks: 4 }]).at(-1) as Step;

      assert.equal(after.label, resultOf(last));
    }),
  );
});
