import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { parseDigest } from '../../common/oci/digest.ts';
import { parseImageReference, type TagReference } from '../../common/oci/reference.ts';
import type { TagRecord } from '../../mirror/store/store.ts';
import { digestKey, type Key, type Provider, type Router, tagKey } from '../../mirror/swarm/router.ts';

/** One node of a swarm under test. */
export interface Node {
  readonly router: Router;
  /** What its providers' `address` must be. */
  readonly address: string;
}

/** Makes nodes that find each other. One fixture is one set of members; every test has its own. */
export interface SwarmFixture {
  /** A node that has joined: started, a member of the others, and stopped when the test ends. */
  join(options?: JoinOptions): Promise<Node>;
  /** A member that joins, and that then hangs when the function is called: it stays connected and answers nothing. */
  joinHangable(): Promise<() => void>;
}

interface JoinOptions {
  /** Nodes of different swarms are listed as members of each other, but prove different keys. */
  readonly swarm?: 'ours' | 'theirs';
}

export interface SuiteOptions {
  readonly name: string;
  readonly createFixture: (t: TestContext) => Promise<SwarmFixture>;
  /** Whether a member can hang: within one process none can. */
  readonly canHang: boolean;
}

/** How long a change (a member that came, left or hung) may take to show. The product's own promise is 10 s. */
const CHANGE_MS_MAX = 10_000;
/** An absent key must not hold a pull up: it ends within this, on a loaded machine. */
const ABSENT_MS_MAX = 500;

/** What every router does. An implementation that passes can stand in for any other. */
export function routerSuite({ name, createFixture, canHang }: SuiteOptions): void {
  const swarmTest = (title: string, run: (swarm: SwarmFixture) => Promise<void>) => {
    test(`${name}: ${title}`, { timeout: 60_000 }, async (t) => run(await createFixture(t)));
  };

  swarmTest('finds what another member advertised, at its address', async (swarm) => {
    const [a, b] = await joinTogether(swarm, 2);

    await a.router.advertise([{ key: key('one') }], never);

    const [provider, ...rest] = await find(b, key('one'));
    assert.equal(provider?.address, a.address);
    assert.equal(provider.peerId, b.router.members()[0]?.peerId);
    assert.equal(provider.tag, undefined);
    assert.deepEqual(rest, []);
  });

  swarmTest('yields every provider once, and as many as the limit', async (swarm) => {
    const nodes = await joinTogether(swarm, 5);
    const [asker, ...holders] = nodes as [Node, ...Node[]];
    for (const { router } of holders) await router.advertise([{ key: key('many') }], never);

    assert.deepEqual(addresses(await find(asker, key('many'))), addresses(holders));
    assert.equal((await find(asker, key('many'), 2)).length, 2);
  });

  swarmTest('ends fast for a key that nobody has', async (swarm) => {
    const [a] = await joinTogether(swarm, 4);
    await find(a, key('warm-up'));

    const startedAt = performance.now();
    const found = await find(a, key('absent'));

    assert.deepEqual(found, []);
    assert.ok(performance.now() - startedAt < ABSENT_MS_MAX);
  });

  swarmTest('never yields the node itself', async (swarm) => {
    const [a, b] = await joinTogether(swarm, 2);

    await a.router.advertise([{ key: key('mine') }], never);
    assert.deepEqual(await find(a, key('mine')), []);

    await b.router.advertise([{ key: key('mine') }], never);
    assert.deepEqual(addresses(await find(a, key('mine'))), [b.address]);
  });

  swarmTest('does not find what was withdrawn, and still finds the rest', async (swarm) => {
    const [a, b, c] = await joinTogether(swarm, 3);
    await a.router.advertise([{ key: key('gone') }, { key: key('kept') }], never);
    await c.router.advertise([{ key: key('gone') }], never);

    await a.router.withdraw([key('gone'), key('never advertised')], never);

    assert.deepEqual(addresses(await find(b, key('gone'))), [c.address]);
    assert.deepEqual(addresses(await find(b, key('kept'))), [a.address]);
  });

  swarmTest('takes an advertisement twice as once', async (swarm) => {
    const [a, b] = await joinTogether(swarm, 2);

    await a.router.advertise([{ key: key('twice') }, { key: key('twice') }], never);
    await a.router.advertise([{ key: key('twice') }], never);
    assert.equal((await find(b, key('twice'))).length, 1);

    await a.router.withdraw([key('twice')], never);
    assert.deepEqual(await find(b, key('twice')), []);
  });

  swarmTest('finds who has a tag, and what it is there', async (swarm) => {
    const [a, b, c] = await joinTogether(swarm, 3);
    const now = Date.now();
    const older = record('older', now - 60_000);
    const newer = record('newer', now - 1_000);
    await a.router.advertise([{ key: tag('app:1'), tag: newer }], never);
    await b.router.advertise([{ key: tag('app:1'), tag: older }], never);

    const found = await find(c, tag('app:1'));
    assert.deepEqual(
      found.map(({ address }) => address),
      [a.address, b.address],
      'the newest resolved comes first',
    );
    assertTag(found[0], newer);
    assertTag(found[1], older);

    const moved = record('moved', now);
    await b.router.advertise([{ key: tag('app:1'), tag: moved }], never);
    const [first] = await find(c, tag('app:1'));
    assert.equal(first?.address, b.address);
    assertTag(first, moved);
  });

  swarmTest('does not find a member that left', async (swarm) => {
    const [a, b, c] = await joinTogether(swarm, 3);
    await a.router.advertise([{ key: key('left') }], never);
    await b.router.advertise([{ key: key('left') }], never);

    await a.router.stop();

    await eventually(async () => {
      assert.deepEqual(addresses(await find(c, key('left'))), [b.address]);
      assert.deepEqual(addresses([...c.router.members()]), [b.address]);
    });
  });

  swarmTest('shows a member that joined late what was advertised before', async (swarm) => {
    const [a] = await joinTogether(swarm, 2);
    await a.router.advertise([{ key: key('before') }], never);

    const late = await swarm.join();

    await eventually(async () => assert.deepEqual(addresses(await find(late, key('before'))), [a.address]));
  });

  swarmTest('keeps everything findable while all members but its holder are replaced', async (swarm) => {
    const [holder, ...former] = (await joinTogether(swarm, 4)) as [Node, ...Node[]];
    const keys = Array.from({ length: 40 }, (_, index) => key(`replaced ${index}`));
    await holder.router.advertise(
      keys.map((key) => ({ key })),
      never,
    );

    const later: Node[] = [];
    for (const leaver of former) {
      later.push(await swarm.join());
      await leaver.router.stop();
    }

    await eventually(async () => {
      for (const node of later) {
        assert.deepEqual(
          addresses([...node.router.members()]),
          addresses([holder, ...later.filter((x) => x !== node)]),
        );
      }
    });
    await eventually(async () => {
      for (const node of later) {
        for (const key of keys) assert.deepEqual(addresses(await find(node, key)), [holder.address]);
      }
    });
  });

  swarmTest('alone is ready, advertises and ends its lookups at once', async (swarm) => {
    const a = await swarm.join();
    await eventually(async () => assert.ok(a.router.isReady()));
    await a.router.advertise([{ key: key('lonely') }], never);

    const startedAt = performance.now();
    assert.deepEqual(await find(a, key('lonely')), []);
    assert.ok(performance.now() - startedAt < ABSENT_MS_MAX);

    const b = await swarm.join();
    await eventually(async () => assert.deepEqual(addresses(await find(b, key('lonely'))), [a.address]));
  });

  swarmTest('ends a lookup when it is stopped, and stops twice', async (swarm) => {
    const [a, b, c] = await joinTogether(swarm, 3);
    for (const { router } of [b, c]) await router.advertise([{ key: key('stopped') }], never);
    const lookup = a.router.lookup(key('stopped'), { limit: 10 }, never)[Symbol.asyncIterator]();
    await lookup.next();

    const stopped = a.router.stop();
    for (let next = await lookup.next(); next.done !== true; next = await lookup.next());

    await stopped;
    await a.router.stop();
    assert.deepEqual(a.router.members(), []);
    assert.deepEqual(await find(a, key('stopped')), []);
  });

  swarmTest('ends a lookup when its signal aborts, without an error', async (swarm) => {
    const [a, b, c] = await joinTogether(swarm, 3);
    for (const { router } of [b, c]) await router.advertise([{ key: key('aborted') }], never);
    const abort = new AbortController();

    const found: Provider[] = [];
    for await (const provider of a.router.lookup(key('aborted'), { limit: 10 }, abort.signal)) {
      found.push(provider);
      abort.abort();
    }

    assert.equal(found.length, 1);
    for await (const _ of a.router.lookup(key('aborted'), { limit: 10 }, abort.signal)) assert.fail('aborted before');
  });

  swarmTest('an aborted advertisement says so, and is made when it can be', async (swarm) => {
    const a = await swarm.join();

    await assert.rejects(a.router.advertise([{ key: key('later') }], AbortSignal.abort()), { code: 'ERR_ABORTED' });

    const b = await swarm.join();
    await eventually(async () => assert.deepEqual(addresses(await find(b, key('later'))), [a.address]));
  });

  swarmTest('members with another key are neither seen nor found', async (swarm) => {
    const [a, b] = await joinTogether(swarm, 2);
    const x = await swarm.join({ swarm: 'theirs' });
    const y = await swarm.join({ swarm: 'theirs' });
    await x.router.advertise([{ key: key('secret') }], never);
    await eventually(async () => {
      assert.deepEqual(addresses(await find(y, key('secret'))), [x.address]);
      assert.ok(a.router.isReady() && x.router.isReady());
    });

    assert.deepEqual(await find(a, key('secret')), []);
    assert.deepEqual(addresses([...a.router.members()]), [b.address]);
    assert.deepEqual(addresses([...x.router.members()]), [y.address]);
  });

  if (!canHang) return;
  swarmTest('a hung member holds up no lookup, and is dropped', async (swarm) => {
    const [a, b] = await joinTogether(swarm, 2);
    const hang = await swarm.joinHangable();
    const keys = Array.from({ length: 8 }, (_, index) => key(`hung ${index}`));
    await a.router.advertise(
      keys.map((key) => ({ key })),
      never,
    );
    await eventually(async () => assert.equal(b.router.members().length, 2));

    hang();

    for (const key of keys) {
      const startedAt = performance.now();
      assert.deepEqual(addresses(await find(b, key)), [a.address]);
      assert.ok(performance.now() - startedAt < ABSENT_MS_MAX);
    }
    const advertised = a.router.advertise([{ key: key('while hung') }], never);
    await eventually(async () => assert.deepEqual(addresses([...b.router.members()]), [a.address]));
    await advertised;
    assert.deepEqual(addresses(await find(b, key('while hung'))), [a.address]);
  });
}

const never = new AbortController().signal;

export function key(name: string): Key {
  return digestKey(digest(name));
}

function digest(name: string) {
  const parsed = parseDigest(`sha256:${createHash('sha256').update(name).digest('hex')}`);
  assert.ok(parsed !== undefined);
  return parsed;
}

function tag(name: string): Key {
  return tagKey(parseImageReference(`registry.test/${name}`) as TagReference);
}

function record(name: string, resolvedAtMs: number): TagRecord {
  return { digest: digest(name), resolvedAtMs };
}

/** Ages cross the wire, so the time comes back with what the way took added or cut off. */
function assertTag(provider: Provider | undefined, expected: TagRecord): void {
  assert.equal(provider?.tag?.digest, expected.digest);
  const error = Math.abs((provider?.tag?.resolvedAtMs ?? 0) - expected.resolvedAtMs);
  assert.ok(error < 500, `resolved ${error} ms beside its time`);
}

async function find(node: Node, key: Key, limit = 100): Promise<Provider[]> {
  const found: Provider[] = [];
  for await (const provider of node.router.lookup(key, { limit }, never)) found.push(provider);
  assert.equal(new Set(found.map(({ peerId }) => peerId)).size, found.length, 'a provider came twice');
  return found;
}

function addresses(nodes: ReadonlyArray<{ readonly address: string }>): string[] {
  return nodes.map(({ address }) => address).sort();
}

/** As many nodes that all see each other. */
export async function joinTogether(swarm: SwarmFixture, count: number): Promise<[Node, Node, Node, ...Node[]]> {
  const nodes: Node[] = [];
  for (let index = 0; index < count; index += 1) nodes.push(await swarm.join());
  await eventually(async () => {
    for (const { router } of nodes) assert.ok(router.isReady() && router.members().length === count - 1);
  });
  return nodes as [Node, Node, Node, ...Node[]];
}

/** Tries until the assertions hold, or fails with what did not. */
export async function eventually(assertions: () => Promise<void>): Promise<void> {
  const deadline = performance.now() + CHANGE_MS_MAX;
  for (;;) {
    try {
      return await assertions();
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await delay(10);
    }
  }
}
