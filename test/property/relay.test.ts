import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import type { Provider } from '../../mirror/swarm/router.ts';
import {
  type RelayAction,
  type RelayEvent,
  type RelayPlan,
  type RelayState,
  startRelay,
  stepRelay,
} from '../../mirror/transfer/relay.ts';

/** What one peer does when it is asked. */
interface Script {
  readonly answer: 'head' | 'absent' | 'unavailable' | 'wrong-size';
  /** Whether another one may be asked before it answers. */
  readonly isLate?: boolean;
  /** Where it breaks off, counted from the first byte that it was asked for; undefined for never. */
  readonly breaksAfter?: number;
  /** The offset whose byte it gets wrong. */
  readonly corruptAt?: number;
  readonly chunkBytes: number;
}

interface World {
  readonly content: readonly number[];
  readonly plan: RelayPlan;
  readonly scripts: readonly Script[];
  /** After how many events the time for a first byte is over, the client leaves, or is to ask again later. */
  readonly deadlineAt: number;
  readonly clientGoneAt: number;
  readonly giveWayAt: number;
  /** After which events who sends is found to be slow, and which of those that wait is said to be faster. */
  readonly slowAt: readonly number[];
  /** How many providers are found with each answer of the lookup. */
  readonly batchSize: number;
}

interface Outcome {
  readonly received: number[];
  readonly head?: Extract<RelayAction, { type: 'send-head' }>;
  readonly ends: string[];
  readonly blames: Array<Extract<RelayAction, { type: 'blame' }>>;
  readonly isClientGone: boolean;
}

const NEVER = 1_000_000;
const optional = (value: fc.Arbitrary<number>) => fc.option(value, { nil: undefined });

const script = fc
  .record({
    answer: fc.constantFrom<Script['answer']>('head', 'head', 'head', 'head', 'absent', 'unavailable', 'wrong-size'),
    breaksAfter: optional(fc.nat({ max: 40 })),
    corruptAt: fc.option(fc.nat({ max: 59 }), { nil: undefined, freq: 2 }),
    chunkBytes: fc.integer({ min: 1, max: 30 }),
    isLate: fc.boolean(),
  })
  .map(({ answer, breaksAfter, corruptAt, chunkBytes, isLate }): Script => {
    return {
      answer,
      chunkBytes,
      isLate,
      ...(breaksAfter !== undefined && { breaksAfter }),
      ...(corruptAt !== undefined && { corruptAt }),
    };
  });

const world: fc.Arbitrary<World> = fc
  .record({
    size: fc.nat({ max: 60 }),
    start: fc.oneof(fc.constant(0), fc.nat({ max: 59 })),
    length: optional(fc.integer({ min: 1, max: 80 })),
    keepBytesMax: fc.constantFrom(0, 10, 100),
    verifies: fc.boolean(),
    scripts: fc.array(script, { maxLength: 6 }),
    deadlineAt: fc.oneof(fc.constant(NEVER), fc.nat({ max: 20 })),
    clientGoneAt: fc.oneof(fc.constant(NEVER), fc.constant(NEVER), fc.nat({ max: 20 })),
    giveWayAt: fc.oneof(fc.constant(NEVER), fc.constant(NEVER), fc.nat({ max: 20 })),
    slowAt: fc.array(fc.nat({ max: 30 }), { maxLength: 6 }),
    batchSize: fc.integer({ min: 1, max: 3 }),
  })
  .map(({ size, start, length, keepBytesMax, verifies, ...rest }) => {
    const from = size === 0 ? 0 : start % size;
    const end = length === undefined ? {} : { end: from + length };
    return {
      ...rest,
      content: Array.from({ length: size }, (_, index) => (index * 7 + 3) % 251),
      plan: { start: from, ...end, keepBytesMax, verifies, sizeBytesMax: 1000 },
    };
  });

/** Plays a world against the machine, and holds it to what an event loop may rely on. */
function play({ content, plan, scripts, deadlineAt, clientGoneAt, giveWayAt, slowAt, batchSize }: World): Outcome {
  const providers = scripts.map((_, index): Provider => ({ peerId: `p${index}`, address: `10.0.0.${index}:1` }));
  let state: RelayState = startRelay(plan);
  const received: number[] = [];
  let kept: number[] = [];
  const ends: string[] = [];
  const blames: Outcome['blames'] = [];
  let head: Outcome['head'];
  const bodies = new Map<number, { provider: number; offset: number; left: number }>();
  const heldAt = new Set<number>();
  const pending: Array<{ event: RelayEvent; after?: RelayEvent }> = [];

  const step = (event: RelayEvent, bytes: number[] = []) => {
    const next = stepRelay(state, event);
    state = next.state;
    for (const action of next.actions) perform(action, bytes);
  };

  const perform = (action: RelayAction, bytes: number[]) => {
    assert.equal(ends.length, 0, 'nothing happens after the end');
    switch (action.type) {
      case 'ask':
        return answer(action);
      case 'read':
        return void pending.push({ event: { type: 'chunk', attempt: action.attempt, byteCount: 0 } });
      case 'cancel':
        heldAt.delete(action.attempt);
        return void bodies.delete(action.attempt);
      case 'hold':
        return void heldAt.add(action.attempt);
      case 'unhold':
        heldAt.delete(action.attempt);
        return void pending.push({ event: { type: 'chunk', attempt: action.attempt, byteCount: 0 } });
      case 'send-head':
        assert.equal(head, undefined, 'one head');
        head = action;
        return;
      case 'deliver':
        assert.notEqual(head, undefined, 'no byte before the head');
        return void received.push(...bytes);
      case 'keep':
        return void kept.push(...bytes);
      case 'drop-kept':
        kept = [];
        return;
      case 'deliver-kept':
        assert.notEqual(head, undefined, 'no byte before the head');
        return void received.push(...kept);
      case 'verify': {
        const isRight = String([...received, ...kept]) === String(content);
        return void pending.unshift({ event: { type: 'verified', isRight } });
      }
      case 'blame':
        return void blames.push(action);
      case 'resumed':
      case 'switched':
        return;
      case 'finish':
      case 'cut':
      case 'give-up':
        return void ends.push(action.type);
    }
  };

  const answer = ({ attempt, provider, start, end }: Extract<RelayAction, { type: 'ask' }>) => {
    const index = providers.indexOf(provider);
    const behaviour = scripts[index] as Script;
    const waitedFor = state.attempts.filter(({ id, isLate }) => !isLate && !heldAt.has(id));
    assert.ok(waitedFor.length <= 1, 'only who is late is not waited for');
    const answered = (event: RelayEvent) => {
      pending.push(behaviour.isLate === true ? { event: { type: 'late', attempt }, after: event } : { event });
    };
    if (behaviour.answer === 'absent' || behaviour.answer === 'unavailable') {
      answered({ type: 'failed', attempt, fault: behaviour.answer });
      return;
    }
    const sizeBytes = content.length + (behaviour.answer === 'wrong-size' ? 1 : 0);
    bodies.set(attempt, { provider: index, offset: start, left: behaviour.breaksAfter ?? NEVER });
    assert.ok(end === undefined || start < end);
    answered({ type: 'head', attempt, sizeBytes });
  };

  /** The next bytes of a body, or its failure. */
  const read = (attempt: number) => {
    const body = bodies.get(attempt);
    if (body === undefined || heldAt.has(attempt)) return;
    const { corruptAt, chunkBytes } = scripts[body.provider] as Script;
    const end = Math.min(plan.end ?? NEVER, state.size?.wholeBytes ?? 0);
    const count = Math.min(chunkBytes, end - body.offset, body.left);
    if (count <= 0) {
      if (body.offset < end) step({ type: 'failed', attempt, fault: 'broke-off' });
      return;
    }
    const bytes = Array.from({ length: count }, (_, index) => {
      const at = body.offset + index;
      return at === corruptAt ? 255 : (content[at] ?? 254);
    });
    body.offset += count;
    body.left -= count;
    pending.push({ event: { type: 'chunk', attempt, byteCount: 0 } });
    step({ type: 'chunk', attempt, byteCount: count }, bytes);
  };

  const slow = (count: number) => {
    const attempt = state.attempts.find(({ isChosen }) => isChosen)?.id ?? 0;
    const faster = state.queue[count % state.queue.length] ?? providers[0];
    if (faster !== undefined) step({ type: 'slow', attempt, faster });
  };

  for (let from = 0; from < providers.length; from += batchSize) {
    pending.push({ event: { type: 'found', providers: providers.slice(from, from + batchSize) } });
  }
  pending.push({ event: { type: 'search-ended' } });
  for (let count = 0; state.phase !== 'over'; count += 1) {
    assert.ok(count < 10_000, 'it ends');
    if (count === clientGoneAt) step({ type: 'client-gone' });
    else if (count === deadlineAt) step({ type: 'deadline' });
    else if (count === giveWayAt) step({ type: 'give-way' });
    else if (slowAt.includes(count)) slow(count);
    else {
      const next = pending.shift();
      assert.ok(next, 'it never waits for something that cannot come');
      if (next.event.type === 'chunk') read(next.event.attempt);
      else step(next.event);
      if (next.after !== undefined) pending.push({ event: next.after });
    }
  }
  return { received, ...(head !== undefined && { head }), ends, blames, isClientGone: ends.length === 0 };
}

test('the client gets a prefix of the right bytes, each once, and then all of it or an end that it recovers from', () => {
  fc.assert(
    fc.property(world, (given) => {
      fc.pre(given.scripts.every(({ corruptAt, answer }) => corruptAt === undefined && answer !== 'wrong-size'));
      const { received, head, ends, isClientGone } = play(given);
      const { content, plan } = given;
      const wanted = content.slice(plan.start, plan.end);
      assert.deepEqual(received, wanted.slice(0, received.length));
      if (isClientGone) return;
      assert.equal(ends.length, 1);
      if (ends[0] === 'finish') {
        assert.deepEqual(received, wanted);
        assert.deepEqual(head, {
          type: 'send-head',
          sizeBytes: content.length,
          start: plan.start,
          end: plan.start + wanted.length,
        });
      }
      if (ends[0] === 'cut') assert.ok(received.length > 0 && received.length < wanted.length);
      if (ends[0] === 'give-up') assert.equal(head, undefined);
    }),
    { numRuns: 5000 },
  );
});

test('one peer that has all of it is enough, whatever the others do', () => {
  fc.assert(
    fc.property(world, fc.nat(), (given, seed) => {
      fc.pre(given.scripts.every(({ corruptAt, answer }) => corruptAt === undefined && answer !== 'wrong-size'));
      fc.pre(given.deadlineAt === NEVER && given.clientGoneAt === NEVER && given.giveWayAt === NEVER);
      const at = seed % (given.scripts.length + 1);
      const good: Script = { answer: 'head', chunkBytes: 5 };
      const { ends } = play({ ...given, scripts: given.scripts.toSpliced(at, 0, good) });
      assert.deepEqual(ends, ['finish']);
    }),
    { numRuns: 3000 },
  );
});

test('wrong bytes of a whole that is verified are never handed over as complete, and small ones not at all', () => {
  fc.assert(
    fc.property(world, (given) => {
      const { received, ends, head } = play(given);
      const { content, plan } = given;
      if (head === undefined) assert.deepEqual(received, []);
      if (ends[0] === 'cut') assert.ok(received.length > 0);
      const isWhole = head !== undefined && head.start === 0 && head.end === head.sizeBytes;
      if (!isWhole) return;
      const isVerified = plan.verifies || head.sizeBytes <= plan.keepBytesMax;
      if (ends[0] === 'finish' && isVerified) assert.deepEqual(received, content);
      if (head.sizeBytes <= plan.keepBytesMax) assert.deepEqual(ends, ['finish']);
    }),
    { numRuns: 5000 },
  );
});

test('only a peer whose own bytes were wrong is banned', () => {
  fc.assert(
    fc.property(world, (given) => {
      for (const { provider, fault } of play(given).blames) {
        if (fault !== 'wrong-bytes') continue;
        const script = given.scripts[Number(provider.peerId.slice(1))];
        assert.ok(script?.corruptAt !== undefined || script?.answer === 'wrong-size');
      }
    }),
    { numRuns: 5000 },
  );
});
