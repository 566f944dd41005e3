import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { silentLogger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import type { Claim, Provider, Want } from '../swarm/router.ts';
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
const HOLDER: Provider = { peerId: 'holder', address: '10.0.0.2:29982' };

interface Swarm {
  /** What is answered to each claim. */
  readonly answer: (count: number, want: Want) => Claim;
  readonly busy?: ReadonlySet<string>;
  readonly mayClaimFirst?: boolean;
  /** Whom a lookup finds. */
  readonly found?: readonly Provider[];
  readonly wanted?: Parameters<typeof findSources>[1];
  readonly isRegistrySlow?: boolean;
  /** Layers that containerd is fetching from the registry. */
  readonly led?: number;
}

/** Asks until there is an end; nobody sends anything. Answers what was asked, and who was named. */
async function askInVain(t: TestContext, swarm: Swarm) {
  const { answer, busy = new Set<string>(), mayClaimFirst = true, found = [], wanted = WANTED } = swarm;
  const asked: Array<'lookup' | 'first' | 'claim'> = [];
  const named: string[][] = [];
  let atMs = 0;
  const now = () => performance.now();
  const firstBytes = createFirstBytes({ now: () => atMs });
  if (swarm.isRegistrySlow === true) {
    const other = `sha256:${'b'.repeat(64)}` as Digest;
    firstBytes.awaited(other, WANTED.registry);
    atMs += 1_000;
    firstBytes.came(other);
  }
  const slots = createSlots({ now, every: () => () => {}, gaveWay: () => {}, isInLine: () => {} });
  for (let count = 0; count < (swarm.led ?? 0); count += 1) slots.led(`sha256:${String(count).repeat(64)}` as Digest);
  const claims = () => asked.filter((what) => what !== 'lookup').length;
  const sources = findSources(
    {
      resolver: {
        providers: async function* () {
          asked.push('lookup');
          if (found.length > 0) yield found;
        },
        ordered: (providers) => providers,
        tagCandidates: async () => [],
      },
      router: {
        claim: async (_key, want) => {
          asked.push(want.isFirst === true ? 'first' : 'claim');
          return answer(claims(), want);
        },
        mayClaimFirst: () => mayClaimFirst,
      },
      peers: createPeerMemory({ now }),
      slots,
      firstBytes,
      log: silentLogger,
    },
    wanted,
    { offset: () => 0, absent: new Set(), busy, postpone: async () => false },
    t.signal,
  );
  for await (const batch of sources) named.push(batch.map(({ peerId }) => peerId));
  return { asked, named, claims: claims() };
}

const following = (providers: readonly Provider[]): Claim => ({ role: 'follow', providers });

test('a leader that lets other layers go first is waited for', async (t) => {
  const { claims } = await askInVain(t, {
    answer: (count) => (count < 20 ? following([LEADER]) : { role: 'lead' }),
  });

  assert.equal(claims, 20);
});

test('a leader that never sends anything is not waited for very long', { timeout: 10_000 }, async (t) => {
  const startedAt = performance.now();

  await askInVain(t, { answer: () => following([LEADER]) });

  assert.ok(performance.now() - startedAt >= 2_500);
});

test('a leader that is busy with others is not waited for', async (t) => {
  const { claims } = await askInVain(t, { answer: () => following([LEADER]), busy: new Set([LEADER.address]) });

  assert.equal(claims, 8);
});

test('where nobody is named who could send, a few answers are enough', async (t) => {
  assert.equal((await askInVain(t, { answer: () => following([]) })).claims, 8);
});

test('what nobody has is one question', async (t) => {
  const { asked } = await askInVain(t, { answer: () => ({ role: 'lead' }) });

  assert.deepEqual(asked, ['first']);
});

test('who has it is named by the answer to one question, and who else is getting it by the next', async (t) => {
  const { asked, named } = await askInVain(t, {
    answer: (count) =>
      count === 1
        ? { role: 'held', providers: [HOLDER] }
        : count === 2
          ? { role: 'held', providers: [HOLDER, LEADER] }
          : { role: 'lead' },
  });

  assert.deepEqual(asked, ['first', 'claim', 'claim']);
  assert.deepEqual(named, [['holder'], ['holder', 'leader']]);
});

test('a first question without an answer is followed by a lookup', async (t) => {
  const { asked, named } = await askInVain(t, {
    answer: (_count, { isFirst }) => (isFirst === true ? { role: 'unknown' } : { role: 'lead' }),
    found: [HOLDER],
  });

  assert.deepEqual(asked, ['first', 'lookup', 'claim']);
  assert.deepEqual(named, [['holder']]);
});

for (const [title, swarm, expected] of [
  ['while members come and go', { mayClaimFirst: false }, ['lookup', 'claim']],
  ['where another may have the token of a slow registry', { isRegistrySlow: true }, ['lookup', 'claim']],
  ['while this node has enough to fetch', { led: 3 }, ['lookup', 'claim']],
  ['for what is not for the store of this node', { wanted: { ...WANTED, isForStore: false } }, ['lookup']],
] as const) {
  test(`a lookup comes first ${title}`, async (t) => {
    const { asked } = await askInVain(t, { answer: () => ({ role: 'lead' }), ...swarm });

    assert.deepEqual(asked, expected);
  });
}
