import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Provider } from '../swarm/router.ts';
import { createPeerMemory } from './peer-memory.ts';
import { fasterPeer, orderPeers, secondPeer } from './pick-peer.ts';
import type { Fault } from './relay.ts';

const [A, B, C] = ['a', 'b', 'c'].map((peerId): Provider => ({ peerId, address: `${peerId}:1` })) as [
  Provider,
  Provider,
  Provider,
];

function remember(nowMs = { value: 0 }) {
  const memory = createPeerMemory({ now: () => nowMs.value });
  const order = (...ties: number[]) => {
    const rest = [...ties];
    return orderPeers(
      [A, B, C],
      (provider) => memory.standing(provider),
      () => rest.shift() ?? 0,
    )
      .map(({ peerId }) => peerId)
      .join('');
  };
  return { memory, order, nowMs };
}

test('equal peers are asked in random order', () => {
  const { order } = remember();

  assert.equal(order(0.3, 0.1, 0.2), 'bca');
  assert.equal(order(0.1, 0.2, 0.3), 'abc');
});

test('one that does less for this node now is asked first', () => {
  const { memory, order } = remember();
  memory.started(A);
  memory.started(B);
  memory.ended(B);

  assert.equal(order(), 'bca');
});

test('one that was not there once is asked last', () => {
  const { memory, order } = remember();
  memory.started(B);
  memory.blame(A, 'unavailable');

  assert.equal(order(), 'cba');
});

test('one that was not there twice is left alone for a while', () => {
  const { memory, order, nowMs } = remember();
  memory.blame(A, 'unavailable');
  nowMs.value = 2_000;
  memory.blame(A, 'unavailable');

  assert.equal(order(), 'bc');
  nowMs.value = 20_000;
  assert.equal(order(), 'bca');
});

for (const fault of ['broke-off', 'misbehaved', 'suspect'] as const satisfies readonly Fault[]) {
  test(`one that was ${fault} is left alone for a while`, () => {
    const { memory, order, nowMs } = remember();
    memory.blame(A, fault);

    const at = [0, 10_000, 20_000, 300_000].map((ms) => {
      nowMs.value = ms;
      return order();
    });

    assert.deepEqual(at, ['bc', 'bc', 'bca', 'abc']);
  });
}

test('one that did not have the content is no worse than before', () => {
  const { memory, order } = remember();
  memory.blame(A, 'absent');

  assert.equal(order(), 'abc');
});

test('one that sent wrong bytes is left alone for ten minutes', () => {
  const { memory, order, nowMs } = remember();
  memory.blame(A, 'wrong-bytes');

  nowMs.value = 599_000;
  const before = order();
  nowMs.value = 601_000;
  const after = order();

  assert.deepEqual([before, after], ['bc', 'abc']);
});

const megabytes = (count: number) => ({ bytesPerSecond: count * 1e6, isPeersPace: true });

test('one that sent several times slower than another is asked last, until that is long ago', () => {
  const { memory, order, nowMs } = remember();
  memory.measured(A, megabytes(5));
  memory.measured(B, megabytes(100));
  memory.measured(C, megabytes(50));

  assert.equal(order(), 'bca');
  nowMs.value = 61_000;
  assert.equal(order(), 'abc');
});

test('one that sent slower than registries do is asked after those of whom nothing is known', () => {
  const { memory, order } = remember();
  memory.measured(A, megabytes(9));
  assert.equal(order(), 'bca');

  memory.measured(A, megabytes(11));
  assert.equal(order(), 'abc');
});

test('one whose client was slow is no slower for that', () => {
  const { memory, order } = remember();
  memory.measured(A, megabytes(100));
  memory.measured(B, megabytes(100));

  memory.measured(A, { ...megabytes(5), isPeersPace: false });

  assert.equal(order(), 'abc');
});

for (const { title, rates, slow, faster } of [
  { title: 'the fastest of those that are known to be faster', rates: { b: 60, c: 90 }, slow: 20, faster: C },
  { title: 'nobody who is only somewhat faster', rates: { b: 50, c: 40 }, slow: 20, faster: undefined },
  { title: 'nobody unknown while it is as fast as registries are', rates: { b: 50 }, slow: 20, faster: undefined },
  { title: 'somebody unknown when it is slower than that', rates: { b: 20 }, slow: 8, faster: C },
]) {
  test(`instead of a slow peer goes on ${title}`, () => {
    const { memory } = remember();
    for (const peer of [B, C]) {
      const rate = (rates as Record<string, number>)[peer.peerId];
      if (rate !== undefined) memory.measured(peer, megabytes(rate));
    }

    assert.deepEqual(
      fasterPeer(slow * 1e6, [B, C], (provider) => memory.standing(provider)),
      faster,
    );
  });
}

test('nobody with a fault goes on instead of a slow peer', () => {
  const { memory } = remember();
  memory.measured(B, megabytes(100));
  memory.blame(B, 'broke-off');

  assert.equal(
    fasterPeer(1e6, [B], (provider) => memory.standing(provider)),
    undefined,
  );
});

for (const { title, rates, second } of [
  { title: 'the fastest of those that are known', rates: { b: 31, c: 40 }, second: C },
  { title: 'one that is not known, before one that is slower than registries are', rates: { b: 8 }, second: C },
  { title: 'nobody who is several times slower', rates: { b: 2, c: 1 }, second: undefined },
]) {
  test(`beside a slow peer is asked ${title}`, () => {
    const { memory } = remember();
    for (const peer of [B, C]) {
      const rate = (rates as Record<string, number>)[peer.peerId];
      if (rate !== undefined) memory.measured(peer, megabytes(rate));
    }

    assert.deepEqual(
      secondPeer(6e6, [B, C], (provider) => memory.standing(provider)),
      second,
    );
  });
}

test('nobody is asked beside a slow peer who sends this node something already', () => {
  const { memory } = remember();
  memory.started(B);

  assert.equal(
    secondPeer(6e6, [B], (provider) => memory.standing(provider)),
    undefined,
  );
});
