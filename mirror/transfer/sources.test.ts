import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { silentLogger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import type { Claim, Provider } from '../swarm/router.ts';
import { createFirstBytes } from './first-bytes.ts';
import { createPeerMemory } from './peer-memory.ts';
import { createSlots } from './slots.ts';
import { findSources } from './sources.ts';

const WANTED = {
  digest: `sha256:${'a'.repeat(64)}` as Digest,
  registry: 'hub.example' as Registry,
  repository: 'app' as Repository,
  isForStore: true,
  kind: 'blob',
} as const;
const LEADER: Provider = { peerId: 'leader', address: '10.0.0.1:29982', isReceiving: true };

/** Asks until there is an end; nobody sends anything. Answers how often a claim was made. */
async function askInVain(
  t: TestContext,
  answer: (count: number) => Claim,
  busy: ReadonlySet<string> = new Set(),
): Promise<number> {
  let count = 0;
  const now = () => performance.now();
  const sources = findSources(
    {
      resolver: { providers: async function* () {}, tagCandidates: async () => [] },
      router: {
        claim: async () => {
          count += 1;
          return answer(count);
        },
      },
      peers: createPeerMemory({ now }),
      slots: createSlots({ now, every: () => () => {}, gaveWay: () => {}, isInLine: () => {} }),
      firstBytes: createFirstBytes({ now }),
      log: silentLogger,
    },
    WANTED,
    { offset: () => 0, absent: new Set(), busy },
    t.signal,
  );
  for await (const _ of sources);
  return count;
}

const following = (providers: readonly Provider[]): Claim => ({ role: 'follow', providers });

test('a leader that lets other layers go first is waited for', async (t) => {
  const count = await askInVain(t, (asked) => (asked < 20 ? following([LEADER]) : { role: 'lead' }));

  assert.equal(count, 20);
});

test('a leader that never sends anything is not waited for very long', { timeout: 10_000 }, async (t) => {
  const startedAt = performance.now();

  await askInVain(t, () => following([LEADER]));

  assert.ok(performance.now() - startedAt >= 2_500);
});

test('a leader that is busy with others is not waited for', async (t) => {
  assert.equal(await askInVain(t, () => following([LEADER]), new Set([LEADER.address])), 8);
});

test('where nobody is named who could send, a few answers are enough', async (t) => {
  assert.equal(await askInVain(t, () => following([])), 8);
});
