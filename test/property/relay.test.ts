import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { world, worldOfTurns } from './relay-arbitrary.ts';
import { NEVER, play, type Script } from './relay-world.ts';

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

test('it is known whose bytes the client got', () => {
  fc.assert(
    fc.property(world, (given) => {
      const { senders, sources } = play(given);
      assert.deepEqual(new Set(sources), senders);
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

test('of two peers that send in turns the client gets what came early', () => {
  const plays = fc.sample(worldOfTurns, 1000).map(play);
  const early = plays.filter(({ aheadCount, ends }) => aheadCount > 0 && ends[0] === 'finish');
  assert.ok(early.length > 100, `${early.length} of ${plays.length} worlds`);
});
