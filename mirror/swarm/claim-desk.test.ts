import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import { createClaimDesk } from './claim-desk.ts';
import { placeOf } from './placement.ts';
import { digestKey, type Want } from './router.ts';
import type { Session } from './session.ts';

const KEY = digestKey(parseDigest(`sha256:${'a'.repeat(64)}`) as Digest);
const WANT = { offset: 0, patienceMs: 1_000 };

/** A swarm of this node and one other, which is asked for all keys. */
function start(claim: Session['claim']) {
  let atMs = 0;
  const session = { peerId: 'other', claim } as unknown as Session;
  const desk = createClaimDesk({
    selfId: () => 'self',
    isSelfKeeper: () => false,
    ownPlace: () => placeOf('self'),
    places: () => [{ ...placeOf('other'), session }],
    addressOf: () => undefined,
    holders: () => [],
    patienceMs: () => 20,
    now: () => atMs,
  });
  const timed = async (want: Want = WANT) => {
    const startedAt = performance.now();
    const answer = await desk.ask(KEY, want);
    return { answer, ms: performance.now() - startedAt };
  };
  return {
    timed,
    pass: (ms: number) => {
      atMs += ms;
    },
  };
}

test('a member that is busy is waited for', async () => {
  const { timed } = start(async () => {
    await new Promise((resolve) => setTimeout(resolve, 400));
    return { role: 'follow', providers: [] };
  });

  assert.equal((await timed()).answer?.claim.role, 'follow');
});

test('a member that hangs is waited for once in a while, and not for every layer', async () => {
  const { timed, pass } = start(() => new Promise(() => {}));

  const first = await timed();
  const second = await timed();
  pass(20_000);
  const later = await timed();

  assert.deepEqual([first.answer, second.answer, later.answer], [undefined, undefined, undefined]);
  assert.ok(first.ms > 900 && second.ms < 500 && later.ms > 900, `${first.ms}, ${second.ms}, ${later.ms} ms`);
});

test('a first question is waited for no longer than a lookup, and not asked of a member that hangs', async () => {
  let count = 0;
  const { timed } = start(() => {
    count += 1;
    return new Promise(() => {});
  });
  const first = { ...WANT, isFirst: true };

  const unanswered = await timed(first);
  await timed();
  const afterSilence = await timed(first);

  assert.deepEqual([unanswered.answer, afterSilence.answer], [undefined, undefined]);
  assert.ok(unanswered.ms < 500, `${unanswered.ms} ms`);
  assert.equal(count, 2);
});
