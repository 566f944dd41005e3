/** Two replicas, apiservers that hear late, clocks that differ, and restarts: is anybody ever shown who they do not trust? */
import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { type Authorities, type AuthorityView, decideRotation, type RotationStep } from '../../certs/rotation.ts';

const TIMES = { authorityMs: 900_000, leafMs: 300_000, overlapMs: 60_000, retireMs: 120_000 };
/** How much later than anybody else an apiserver may hear of a change. */
const LAG_MS = 30_000;
/** Between two looks of a replica, with a stall. */
const POLL_MS_MAX = 40_000;
const START = Date.parse('2026-01-01T00:00:00Z');

type Kept = Authorities<AuthorityView>;

interface Replica {
  leaf: { authority: string; expires: Date } | undefined;
  readonly skewMs: number;
}

/** What happens next: a replica looks and takes one step, after a while. */
interface Turn {
  readonly afterMs: number;
  readonly replica: 0 | 1;
  readonly event: 'look' | 'restart' | 'ask';
}

const turn: fc.Arbitrary<Turn> = fc.record({
  afterMs: fc.integer({ min: 0, max: POLL_MS_MAX / 2 }),
  replica: fc.constantFrom(0, 1),
  event: fc.oneof(
    { weight: 20, arbitrary: fc.constant('look' as const) },
    { weight: 1, arbitrary: fc.constantFrom('restart' as const, 'ask' as const) },
  ),
});

function createWorld(skews: readonly [number, number]) {
  let now = START;
  let secret: Kept | undefined;
  let isAsked = false;
  let serial = 0;
  let bundle = new Set<string>();
  /** What apiservers may believe at the same time, with the moment when it was replaced. */
  let believed: { ids: Set<string>; until: number }[] = [];
  const replicas: Replica[] = skews.map((skewMs) => ({ leaf: undefined, skewMs }));
  let promotions = 0;
  let isTrustedOnce = false;

  function make(clock: Date): AuthorityView {
    return { id: `authority-${serial++}`, expires: new Date(clock.getTime() + TIMES.authorityMs) };
  }

  function perform(step: RotationStep, replica: Replica, clock: Date): void {
    if (step.do === 'publish') {
      believed.push({ ids: bundle, until: now + LAG_MS });
      bundle = new Set(step.trust);
      isTrustedOnce = true;
    } else if (step.do === 'create-authority') secret = { current: make(clock) };
    if (secret === undefined) return;
    const { current, next, previous } = secret;
    if (step.do === 'add-next') {
      secret = { current, next: { authority: make(clock), published: undefined }, previous };
      isAsked = false;
    } else if (step.do === 'confirm-next' && next) secret = { current, next: { ...next, published: clock }, previous };
    else if (step.do === 'promote-next' && next) {
      promotions += 1;
      secret = { current: next.authority, previous: { authority: current, retired: clock } };
    } else if (step.do === 'drop-previous') secret = { current, next };
    else if (step.do === 'issue-leaf') {
      const expires = new Date(Math.min(clock.getTime() + TIMES.leafMs, current.expires.getTime()));
      replica.leaf = { authority: current.id, expires };
    }
  }

  return {
    promotions: () => promotions,
    take: ({ afterMs, replica: index, event }: Turn): RotationStep['do'] => {
      now += afterMs;
      believed = believed.filter(({ until }) => until > now);
      const replica = replicas[index] as Replica;
      if (event === 'restart') replica.leaf = undefined;
      if (event === 'ask') isAsked = true;
      const clock = new Date(now + replica.skewMs);
      const state = { authorities: secret, isAsked, trusted: [bundle, bundle], leaf: replica.leaf };
      const step = decideRotation(state, TIMES, clock);
      perform(step, replica, clock);
      return step.do;
    },
    /** Of the replicas that answer, those whom some apiserver does not trust. */
    mistrusted: () =>
      replicas.filter(
        ({ leaf }) =>
          isTrustedOnce &&
          leaf !== undefined &&
          (!bundle.has(leaf.authority) || believed.some(({ ids }) => ids.size > 0 && !ids.has(leaf.authority))),
      ),
    expired: () => replicas.filter(({ leaf }) => leaf && leaf.expires.getTime() <= now),
  };
}

const skews = fc.tuple(fc.integer({ min: -5000, max: 5000 }), fc.integer({ min: -5000, max: 5000 }));

test('whatever the order of things, a replica shows what every apiserver trusts', () => {
  fc.assert(
    fc.property(skews, fc.array(turn, { minLength: 20, maxLength: 200 }), (clocks, turns) => {
      const world = createWorld(clocks);
      for (const [index, one] of turns.entries()) {
        // Neither replica goes unheard for longer than trust lasts.
        for (const replica of [0, 1] as const) {
          if (index % 4 === 0) world.take({ afterMs: 0, replica, event: 'look' });
        }
        world.take(one);
        assert.deepEqual(world.mistrusted(), []);
      }
    }),
  );
});

test('rotation comes to rest, and goes on for ever: no leaf expires in ten lives of an authority', () => {
  fc.assert(
    fc.property(skews, fc.integer({ min: 1000, max: 15_000 }), (clocks, afterMs) => {
      const world = createWorld(clocks);
      const turns = Math.ceil((10 * TIMES.authorityMs) / afterMs / 2);
      let rests = 0;
      for (let index = 0; index < turns; index++) {
        for (const replica of [0, 1] as const) {
          let steps = 0;
          world.take({ afterMs, replica, event: 'look' });
          while (world.take({ afterMs: 0, replica, event: 'look' }) !== 'rest') assert.ok(steps++ < 10);
          rests += 1;
        }
        assert.deepEqual(world.mistrusted(), []);
        assert.deepEqual(world.expired(), []);
      }
      assert.equal(rests, turns * 2);
      assert.ok(world.promotions() >= 9, `${world.promotions()} rotations`);
    }),
    { numRuns: 20 },
  );
});
