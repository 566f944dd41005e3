import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import { type Changes, createChangeInbox } from './changes.ts';

const [A, B] = ['a', 'b'].map((hex) => parseDigest(`sha256:${hex.repeat(64)}`)) as [Digest, Digest];

/** An inbox that is waited for, and a clock that goes as it is told. */
function start(t: TestContext) {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const inbox = createChangeInbox();
  let taken: Changes | undefined;
  void inbox.take(t.signal).then((changes) => {
    taken = changes;
  });
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 1) {
      await setImmediate();
      t.mock.timers.tick(1);
    }
    await setImmediate();
    return taken && { ...taken, digests: [...taken.digests] };
  };
  return { inbox, pass };
}

test('content that comes one after another is looked at together', async (t) => {
  const { inbox, pass } = start(t);

  inbox.addDigest(A);
  await pass(5);
  inbox.addDigest(A);
  await pass(10);
  inbox.addDigest(B);

  assert.equal(await pass(5), undefined);
  assert.deepEqual(await pass(15), { everything: false, digests: [A, B], images: new Set() });
});

test('an image does not wait for more content', async (t) => {
  const { inbox, pass } = start(t);

  inbox.addDigest(A);
  await pass(1);
  inbox.addImage('app:1');

  assert.deepEqual((await pass(5))?.digests, [A]);
});

test('a doubt about everything does not wait for more content', async (t) => {
  const { inbox, pass } = start(t);

  inbox.addDigest(A);
  await pass(1);
  inbox.addEverything();

  assert.equal((await pass(5))?.everything, true);
});

test('nothing is waited for once the signal aborts, and what was there is handed out', async () => {
  const inbox = createChangeInbox();
  inbox.addDigest(A);

  assert.deepEqual([...(await inbox.take(AbortSignal.abort())).digests], [A]);
  assert.equal((await inbox.take(AbortSignal.abort())).digests.size, 0);
});
