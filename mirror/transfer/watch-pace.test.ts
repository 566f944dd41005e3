import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../common/log.ts';
import type { Provider } from '../swarm/router.ts';
import { createPeerMemory } from './peer-memory.ts';
import { createReadAhead, TURNS_LIMITS } from './read-ahead.ts';
import { type RelayEvent, type RelayState, startRelay } from './relay.ts';
import type { Turns } from './turns.ts';
import { createPaceWatch } from './watch-pace.ts';

const [FIRST, OTHER] = ['first', 'other'].map((name): Provider => ({ peerId: name, address: name })) as [
  Provider,
  Provider,
];
const MEGABYTE = 1_000_000;
const SIZE = 1000 * MEGABYTE;

/** A relay of which `first` sends, and `other` waits; nothing but what the watch is told happens. */
function watch({ other = OTHER, first = FIRST }: { readonly other?: Provider; readonly first?: Provider } = {}) {
  const clock = { ms: 0 };
  const now = () => clock.ms;
  const peers = createPeerMemory({ now });
  const readAhead = createReadAhead({ now });
  const told: RelayEvent[] = [];
  let look = () => {};
  let state: RelayState = {
    ...startRelay({ start: 0, keepBytesMax: 0, verifies: false, sizeBytesMax: SIZE, turns: TURNS_LIMITS }),
    attempts: [{ id: 0, provider: first, isChosen: true, isLate: false }],
    queue: [other],
    size: { wholeBytes: SIZE, end: SIZE },
    isHeadSent: true,
  };
  const inc = { inc: () => {} };
  const pace = createPaceWatch(
    {
      peers,
      log: silentLogger,
      metrics: { left: inc } as never,
      readAhead,
      now,
      every: (_ms, callback) => {
        look = callback;
        return () => {};
      },
    },
    {},
    { state: () => state, taken: () => state.offset, tell: (event) => void told.push(event), leave: () => {} },
  );
  const bodies = new Map([[first, pace.reads(0, first)]]);
  /** So much comes of each within a second, and is taken at once. */
  const second = (bytes: ReadonlyArray<readonly [Provider, number]>) => {
    clock.ms += 1000;
    for (const [provider, byteCount] of bytes) {
      bodies.get(provider)?.arrived(byteCount);
      bodies.get(provider)?.taken();
    }
    look();
    return told.splice(0);
  };
  const inTurns = () => {
    const part = { id: 0, provider: first, offset: 0, end: TURNS_LIMITS.partBytes, goesOn: true };
    const turns: Turns = { peers: [first, other], asked: [], parts: [part], next: part.end, taken: 0 };
    state = { ...state, attempts: [], queue: [], turns };
    pace.beganTurns();
    bodies.set(other, pace.reads(1, other));
  };
  return {
    second,
    inTurns,
    peers,
    pace,
    readAhead,
    bodies,
    setState: (part: Partial<RelayState>) => (state = { ...state, ...part }),
  };
}

const types = (events: readonly RelayEvent[]) => events.map(({ type }) => type);

for (const { megabytes, does } of [
  { megabytes: 1, does: 'slow' },
  { megabytes: 4, does: 'in-turns' },
  { megabytes: 15, does: 'in-turns' },
  { megabytes: 25, does: undefined },
  { megabytes: 400, does: undefined },
]) {
  test(`of a peer that sends ${megabytes} MB/s, with one beside it that is not known, it says ${does ?? 'nothing'}`, () => {
    const { second } = watch();

    assert.deepEqual(types(second([[FIRST, megabytes * MEGABYTE]])), does === undefined ? [] : [does]);
  });
}

test('one that is known to be several times as fast goes on instead, and one several times as slow is of no use', () => {
  const fast = watch();
  fast.peers.measured(OTHER, { bytesPerSecond: 50 * MEGABYTE, isPeersPace: true });
  const slow = watch();
  slow.peers.measured(OTHER, { bytesPerSecond: MEGABYTE, isPeersPace: true });

  assert.deepEqual(types(fast.second([[FIRST, 6 * MEGABYTE]])), ['slow']);
  assert.deepEqual(types(slow.second([[FIRST, 6 * MEGABYTE]])), []);
});

test('one that sends this node something already, or is receiving itself, is not asked beside', () => {
  const busy = watch();
  busy.peers.measured(OTHER, { bytesPerSecond: 6 * MEGABYTE, isPeersPace: true });
  busy.peers.started(OTHER);
  const receiving = watch({ other: { ...OTHER, isReceiving: true } });

  assert.deepEqual(types(busy.second([[FIRST, 6 * MEGABYTE]])), []);
  assert.deepEqual(types(receiving.second([[FIRST, 6 * MEGABYTE]])), []);
});

test('nobody is asked beside one that is receiving itself, whose client is slow, or that is nearly done', () => {
  const receiving = watch({ first: { ...FIRST, isReceiving: true } });
  const done = watch();
  done.peers.measured(OTHER, { bytesPerSecond: 6 * MEGABYTE, isPeersPace: true });
  done.setState({ offset: SIZE - MEGABYTE });
  const waiting = watch();
  // It arrives, and is not taken.
  waiting.bodies.get(FIRST)?.arrived(1);

  assert.deepEqual(types([...receiving.bodies.keys()].flatMap((one) => receiving.second([[one, 6 * MEGABYTE]]))), []);
  assert.deepEqual(types(done.second([[FIRST, 6 * MEGABYTE]])), []);
  assert.deepEqual(types(waiting.second([[FIRST, 6 * MEGABYTE]])), []);
});

test('two that bring more than one go on, and two that do not are in vain', () => {
  const { second, inTurns, readAhead } = watch();
  second([[FIRST, 6 * MEGABYTE]]);
  inTurns();

  const gain = second([
    [FIRST, 6 * MEGABYTE],
    [OTHER, 5 * MEGABYTE],
  ]);
  const once = second([
    [FIRST, 3 * MEGABYTE],
    [OTHER, 3 * MEGABYTE],
  ]);
  const again = second([
    [FIRST, 3 * MEGABYTE],
    [OTHER, 4 * MEGABYTE],
  ]);

  assert.deepEqual([gain, once], [[], []]);
  assert.deepEqual(again, [{ type: 'alone', provider: OTHER }]);
  assert.equal(readAhead.begin(), undefined);
});

test('the faster of two goes on alone when the other one brings a third of it, or nothing', () => {
  for (const slow of [0, 2]) {
    const { second, inTurns } = watch();
    second([[FIRST, 4 * MEGABYTE]]);
    inTurns();

    const told = second([
      [FIRST, slow * MEGABYTE],
      [OTHER, 6 * MEGABYTE],
    ]);

    assert.deepEqual(told, [{ type: 'alone', provider: OTHER }]);
  }
});

test('where nothing comes, who is waited for is left', () => {
  const { second, inTurns } = watch();
  second([[FIRST, 4 * MEGABYTE]]);
  inTurns();

  assert.deepEqual(second([]), [{ type: 'alone', provider: OTHER }]);
});
