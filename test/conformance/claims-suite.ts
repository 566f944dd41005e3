import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Claim } from '../../mirror/swarm/router.ts';
import { eventually, joinTogether, key, type Node, type SuiteOptions, type SwarmFixture } from './router-suite.ts';

/** So many that each member is the one that some of them are asked of. */
const KEYS = Array.from({ length: 16 }, (_, index) => key(`claimed ${index}`));
const WANT = { offset: 0, patienceMs: 2_000 };
const never = new AbortController().signal;

/** What every router does that knows who is receiving what. */
export function claimsSuite({ name, createFixture }: SuiteOptions): void {
  const swarmTest = (title: string, run: (swarm: SwarmFixture) => Promise<void>) => {
    test(`${name}: ${title}`, { timeout: 60_000 }, async (t) => run(await createFixture(t)));
  };

  swarmTest('a node that is alone leads', async (swarm) => {
    const { router } = await swarm.join();

    assert.equal((await router.claim(key('alone'), WANT, never)).role, 'lead');
  });

  swarmTest(
    'of those who want the same at once one leads, and the others follow one who came before',
    async (swarm) => {
      const nodes = await joinTogether(swarm, 4);

      for (const wanted of KEYS) {
        const claims = await Promise.all(nodes.map(({ router }) => router.claim(wanted, WANT, never)));

        const leaders = nodes.filter((_, index) => claims[index]?.role === 'lead');
        assert.equal(leaders.length, 1);
        for (const [index, claim] of claims.entries()) {
          if (nodes[index] !== leaders[0]) assert.ok(named(claim).includes(leaders[0]?.address ?? ''));
          assert.ok(!named(claim).includes(nodes[index]?.address ?? ''), 'nobody is told to follow itself');
        }
      }
    },
  );

  swarmTest('who asks after the leader gave up, or left, leads', async (swarm) => {
    const [a, b, c] = await joinTogether(swarm, 3);
    for (const wanted of KEYS) await lead(a, wanted);

    a.router.gaveUp(KEYS.slice(0, 8));
    await eventually(async () => {
      for (const wanted of KEYS.slice(0, 8)) assert.equal((await b.router.claim(wanted, WANT, never)).role, 'lead');
    });
    await a.router.stop();
    await eventually(async () => {
      for (const wanted of KEYS.slice(8)) assert.equal((await c.router.claim(wanted, WANT, never)).role, 'lead');
    });
  });

  swarmTest('who asks for what another has is told of it, and of those who are getting it', async (swarm) => {
    const [a, b, c] = await joinTogether(swarm, 3);
    for (const wanted of KEYS) await lead(a, wanted);

    await a.router.advertise(
      KEYS.map((wanted) => ({ key: wanted })),
      never,
    );

    for (const wanted of KEYS) {
      assert.deepEqual(named(await b.router.claim(wanted, WANT, never)), [a.address]);
      assert.deepEqual(named(await c.router.claim(wanted, WANT, never)), [a.address, b.address]);
    }
  });

  swarmTest(
    'who asks first is told of those who have it alone, and does not become one who is getting it',
    async (swarm) => {
      const [a, b, c] = await joinTogether(swarm, 3);
      await a.router.advertise(
        KEYS.map((wanted) => ({ key: wanted })),
        never,
      );

      for (const wanted of KEYS) {
        const first = await b.router.claim(wanted, { ...WANT, isFirst: true }, never);

        assert.equal(first.role, 'held');
        assert.deepEqual(named(first), [a.address]);
        assert.ok(first.providers.every(({ isReceiving }) => isReceiving !== true));
        assert.deepEqual(named(await c.router.claim(wanted, WANT, never)), [a.address]);
      }
    },
  );

  swarmTest('who asks first for what nobody has leads, or follows who does', async (swarm) => {
    const [a, b] = await joinTogether(swarm, 2);

    for (const wanted of KEYS) {
      assert.equal((await a.router.claim(wanted, { ...WANT, isFirst: true }, never)).role, 'lead');
      assert.deepEqual(named(await b.router.claim(wanted, { ...WANT, isFirst: true }, never)), [a.address]);
    }
  });

  swarmTest('who says that it is receiving something is followed', async (swarm) => {
    const [a, b] = await joinTogether(swarm, 2);

    a.router.receiving(KEYS.map((wanted) => ({ key: wanted, offset: 5, isWhole: false })));

    await eventually(async () => {
      // It may have asked before the other was heard, and lead.
      b.router.gaveUp(KEYS);
      for (const wanted of KEYS) assert.deepEqual(named(await b.router.claim(wanted, WANT, never)), [a.address]);
    });
  });
}

async function lead({ router }: Node, wanted: (typeof KEYS)[number]): Promise<void> {
  assert.equal((await router.claim(wanted, WANT, never)).role, 'lead');
}

function named(claim: Claim): readonly string[] {
  return 'providers' in claim ? claim.providers.map(({ address }) => address) : [];
}
