import assert from 'node:assert/strict';
import test from 'node:test';
import { decideRotation, type RotationState, type RotationStep } from './rotation.ts';

const NOW = new Date('2026-01-01T00:00:00Z');
const TIMES = { authorityMs: 900_000, leafMs: 300_000, overlapMs: 60_000, retireMs: 120_000 };

const at = (seconds: number) => new Date(NOW.getTime() + seconds * 1000);
const authority = (id: string, expiresIn = 900) => ({ id, expires: at(expiresIn) });
const next = (published: Date | undefined, id = 'b') => ({ authority: authority(id), published });
const previous = (retired: Date, id = 'z') => ({ authority: authority(id), retired });
const trust = (...ids: string[]) => [new Set(ids), new Set(ids)];
const leaf = (by: string, expiresIn = 300) => ({ authority: by, expires: at(expiresIn) });

const CALM: RotationState = {
  authorities: { current: authority('a') },
  isAsked: false,
  trusted: trust('a'),
  leaf: leaf('a'),
};

const cases: readonly { title: string; state: Partial<RotationState>; step: RotationStep }[] = [
  { title: 'nothing when all is well', state: {}, step: { do: 'rest' } },
  { title: 'an authority when there is none', state: { authorities: undefined }, step: { do: 'create-authority' } },
  {
    title: 'an authority when that which there is has expired',
    state: { authorities: { current: authority('a', 0) } },
    step: { do: 'create-authority' },
  },
  {
    title: 'the next authority at once when the current one has expired',
    state: { authorities: { current: authority('a', -1), next: next(undefined) } },
    step: { do: 'promote-next' },
  },
  {
    title: 'a leaf before anything else, so that somebody answers',
    state: { leaf: undefined, trusted: trust() },
    step: { do: 'issue-leaf' },
  },
  { title: 'to publish what is not trusted', state: { trusted: trust() }, step: { do: 'publish', trust: ['a'] } },
  {
    title: 'to publish what one of two webhooks does not trust',
    state: { trusted: [new Set(['a']), new Set()] },
    step: { do: 'publish', trust: ['a'] },
  },
  {
    title: 'to take out of the bundle who is not one of ours',
    state: { trusted: trust('a', 'x') },
    step: { do: 'publish', trust: ['a'] },
  },
  { title: 'nothing about a bundle that is nowhere', state: { trusted: undefined }, step: { do: 'rest' } },
  { title: 'a leaf of the current authority', state: { leaf: leaf('z') }, step: { do: 'issue-leaf' } },
  { title: 'a leaf when a third of its time is left', state: { leaf: leaf('a', 100) }, step: { do: 'issue-leaf' } },
  { title: 'no leaf when more is left', state: { leaf: leaf('a', 101) }, step: { do: 'rest' } },
  {
    title: 'no new leaf when the old one ends with its authority',
    state: {
      authorities: { current: authority('a', 50), next: next(at(-1)) },
      trusted: trust('a', 'b'),
      leaf: leaf('a', 50),
    },
    step: { do: 'rest' },
  },
  {
    title: 'a new authority when a third of the time is left',
    state: { authorities: { current: authority('a', 300) } },
    step: { do: 'add-next' },
  },
  { title: 'a new authority when somebody asks', state: { isAsked: true }, step: { do: 'add-next' } },
  {
    title: 'no third authority when somebody asks again',
    state: { isAsked: true, authorities: { current: authority('a'), next: next(at(-1)) }, trusted: trust('a', 'b') },
    step: { do: 'rest' },
  },
  {
    title: 'to publish the next authority',
    state: { authorities: { current: authority('a'), next: next(undefined) } },
    step: { do: 'publish', trust: ['a', 'b'] },
  },
  {
    title: 'to write down that the next one is trusted',
    state: { authorities: { current: authority('a'), next: next(undefined) }, trusted: trust('a', 'b') },
    step: { do: 'confirm-next' },
  },
  {
    title: 'nothing before all know the next one',
    state: { authorities: { current: authority('a'), next: next(at(-59)) }, trusted: trust('a', 'b') },
    step: { do: 'rest' },
  },
  {
    title: 'the next one when all know it',
    state: { authorities: { current: authority('a'), next: next(at(-60)) }, trusted: trust('a', 'b') },
    step: { do: 'promote-next' },
  },
  {
    title: 'to write it down anew when a clock that was wrong wrote it',
    state: { authorities: { current: authority('a'), next: next(at(3600)) }, trusted: trust('a', 'b') },
    step: { do: 'confirm-next' },
  },
  {
    title: 'nothing with a next one that nobody can trust, for want of a configuration',
    state: { authorities: { current: authority('a'), next: next(at(-600)) }, trusted: undefined },
    step: { do: 'rest' },
  },
  {
    title: 'to keep the trust in the previous one for a while',
    state: { authorities: { current: authority('a'), previous: previous(at(-119)) }, trusted: trust('a', 'z') },
    step: { do: 'rest' },
  },
  {
    title: 'to end the trust in the previous one',
    state: { authorities: { current: authority('a'), previous: previous(at(-120)) }, trusted: trust('a', 'z') },
    step: { do: 'drop-previous' },
  },
];

for (const { title, state, step } of cases) {
  test(`wants ${title}`, () => {
    assert.deepEqual(decideRotation({ ...CALM, ...state }, TIMES, NOW), step);
  });
}
