import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { hasCode } from '../../common/errors.ts';
import type { Digest } from '../../common/oci/digest.ts';
import {
  createFrameParser,
  FRAME_BYTES_MAX,
  FRAME_ENTRIES_MAX,
  FRAME_GETS_MAX,
  FRAME_PROVIDERS_MAX,
  type Frame,
  formatFrame,
  type KeyHash,
  parseFrame,
} from '../../mirror/swarm/wire.ts';
import { TAG_AGE_MS_MAX } from '../../mirror/swarm/wire-bytes.ts';

const id = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const offset = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes));
const key = bytes32.map((bytes) => bytes.toString('latin1') as KeyHash);
const digest = bytes32.map((bytes) => `sha256:${bytes.toString('hex')}` as Digest);
const tag = fc.record({ digest, ageMs: fc.integer({ min: 0, max: TAG_AGE_MS_MAX }) }, { noNullPrototype: true });
const port = fc.integer({ min: 1, max: 65_535 });
const host = fc.oneof(
  fc.ipV4(),
  fc.ipV6().filter((text) => !text.includes('.')),
  fc.constant('node-3.example'),
);
const address = fc
  .tuple(host, port)
  .map(([host, port]) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`));
const peer = fc.record(
  { peerId: fc.constant('12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA'), address },
  { noNullPrototype: true },
);
const provider = fc.record({ peer, tag }, { requiredKeys: [], noNullPrototype: true });

const frame: fc.Arbitrary<Frame> = fc.oneof(
  fc
    .record(
      { peerPort: port, swarmPort: port, host },
      { requiredKeys: ['peerPort', 'swarmPort'], noNullPrototype: true },
    )
    .map((hello) => ({ type: 'hello' as const, ...hello })),
  fc.constant({ type: 'beat' as const }),
  id.map((id) => ({ type: 'ack' as const, id })),
  fc
    .tuple(id, fc.array(fc.record({ key, tag }, { requiredKeys: ['key'], noNullPrototype: true })))
    .map(([id, entries]) => ({ type: 'add' as const, id, entries })),
  fc.tuple(id, fc.array(key)).map(([id, keys]) => ({ type: 'remove' as const, id, keys })),
  fc
    .tuple(id, fc.integer({ min: 1, max: FRAME_PROVIDERS_MAX }), fc.array(key, { maxLength: FRAME_GETS_MAX }))
    .map(([id, limit, keys]) => ({ type: 'get' as const, id, limit, keys })),
  fc
    .tuple(id, fc.array(fc.array(provider, { maxLength: FRAME_PROVIDERS_MAX }), { maxLength: FRAME_GETS_MAX }))
    .map(([id, providers]) => ({ type: 'found' as const, id, providers })),
  fc.tuple(id, key, offset, fc.nat({ max: 0xffff }), fc.boolean()).map(([id, key, offset, patienceMs, isFirst]) => ({
    type: 'claim' as const,
    id,
    key,
    offset,
    patienceMs,
    isFirst,
  })),
  fc
    .tuple(
      id,
      fc.constantFrom('lead' as const, 'follow' as const, 'held' as const),
      fc.array(fc.record({ peer }, { requiredKeys: [], noNullPrototype: true }), { maxLength: FRAME_PROVIDERS_MAX }),
    )
    .map(([id, role, providers]) => ({ type: 'claimed' as const, id, role, providers })),
  fc
    .tuple(id, fc.array(fc.record({ key, offset, isWhole: fc.boolean() }, { noNullPrototype: true })))
    .map(([id, entries]) => ({ type: 'receive' as const, id, entries })),
  fc.tuple(id, fc.array(key)).map(([id, keys]) => ({ type: 'release' as const, id, keys })),
);

/** The frames of the bytes, or undefined when they are refused; any other error fails the test. */
function parseAll(chunks: readonly Uint8Array[]): Frame[] | undefined {
  const parser = createFrameParser();
  try {
    return chunks.flatMap((chunk) => parser.push(chunk));
  } catch (error) {
    assert(hasCode(error, 'ERR_SWARM_FRAME_INVALID'), String(error));
    return undefined;
  }
}

test('a frame that is formatted parses to itself', () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 5 }), (frames) => {
      assert.deepEqual(parseAll([Buffer.concat(frames.map(formatFrame))]), frames);
    }),
  );
});

test('how the bytes are cut into chunks makes no difference', () => {
  fc.assert(
    fc.property(fc.array(frame, { maxLength: 4 }), fc.array(fc.nat({ max: 70 }), { minLength: 1 }), (frames, sizes) => {
      const bytes = Buffer.concat(frames.map(formatFrame));
      const chunks: Uint8Array[] = [];
      for (let offset = 0, index = 0; offset < bytes.length; index += 1) {
        const size = (sizes[index % sizes.length] as number) + 1;
        chunks.push(bytes.subarray(offset, offset + size));
        offset += size;
      }
      assert.deepEqual(parseAll(chunks), frames);
    }),
  );
});

test('whatever bytes are changed, cut off or put in, a frame is parsed or refused with its code', () => {
  const change = fc.record({ at: fc.nat(), bytes: fc.uint8Array({ maxLength: 6 }), removed: fc.nat({ max: 6 }) });
  fc.assert(
    fc.property(frame, fc.array(change, { minLength: 1, maxLength: 4 }), (frame, changes) => {
      let bytes = Buffer.from(formatFrame(frame));
      for (const { at, bytes: put, removed } of changes) {
        const start = at % (bytes.length + 1);
        bytes = Buffer.concat([bytes.subarray(0, start), put, bytes.subarray(start + removed)]);
      }
      parseAll([bytes]);
    }),
    { numRuns: 2_000 },
  );
});

test('random bytes are parsed or refused with the code', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void parseAll([bytes])),
    { numRuns: 2_000 },
  );
});

test('the largest frames that the limits allow fit in a frame', () => {
  const peer = {
    peerId: 'z'.repeat(64),
    address: `${'n'.repeat(63)}.${'n'.repeat(63)}.${'n'.repeat(63)}.${'n'.repeat(61)}:65535`,
  };
  const tag = { digest: `sha256:${'0'.repeat(64)}` as Digest, ageMs: TAG_AGE_MS_MAX };
  const key = '\xff'.repeat(32) as KeyHash;
  const frames: Frame[] = [
    { type: 'add', id: 1, entries: Array.from({ length: FRAME_ENTRIES_MAX }, () => ({ key, tag })) },
    {
      type: 'found',
      id: 2,
      providers: Array.from({ length: FRAME_GETS_MAX }, () =>
        Array.from({ length: FRAME_PROVIDERS_MAX }, () => ({ peer, tag })),
      ),
    },
  ];
  assert.deepEqual(parseAll(frames.map(formatFrame)), frames);
});

function frameOf(...body: number[]): Buffer {
  const bytes = Buffer.alloc(4 + body.length);
  bytes.writeUInt32BE(body.length);
  bytes.set(body, 4);
  return bytes;
}

const HEAD_OF = { hello: 0, beat: 1, add: 2, ack: 4, get: 5, found: 6 };
const zeros = (count: number): number[] => Array.from({ length: count }, () => 0);

for (const { title, bytes } of [
  { title: 'a length of nothing', bytes: Buffer.from([0, 0, 0, 0]) },
  { title: 'a length over the limit', bytes: Buffer.from([0, 4, 0, 1]) },
  { title: 'the largest length', bytes: Buffer.alloc(4, 0xff) },
  { title: 'another version', bytes: frameOf(2, HEAD_OF.beat, 0, 0, 0, 0) },
  { title: 'an unknown type', bytes: frameOf(1, 7, 0, 0, 0, 0) },
  { title: 'a count over what follows', bytes: frameOf(1, HEAD_OF.add, 0, 0, 0, 1, 0, 2, ...zeros(33)) },
  { title: 'a count under what follows', bytes: frameOf(1, HEAD_OF.add, 0, 0, 0, 1, 0, 0, ...zeros(33)) },
  { title: 'more keys than a get may have', bytes: frameOf(1, HEAD_OF.get, 0, 0, 0, 1, 1, 0, 17, ...zeros(17 * 32)) },
  { title: 'a limit of none', bytes: frameOf(1, HEAD_OF.get, 0, 0, 0, 1, 0, 0, 1, ...zeros(32)) },
  {
    title: 'an age of 8,900 years',
    bytes: frameOf(1, HEAD_OF.add, 0, 0, 0, 1, 0, 1, ...zeros(32), 1, ...zeros(32), 255, 255, 255, 255, 255, 255),
  },
  { title: 'a tag that is neither there nor not', bytes: frameOf(1, HEAD_OF.add, 0, 0, 0, 1, 0, 1, ...zeros(32), 2) },
  { title: 'a provider with an address alone', bytes: frameOf(1, HEAD_OF.found, 0, 0, 0, 1, 0, 1, 1, 0, 0, 1, 97, 0) },
  { title: 'a hello without a port', bytes: frameOf(1, HEAD_OF.hello, 0, 0, 0, 0, 0, 0, 0, 1, 0) },
  { title: 'bytes after an ack', bytes: frameOf(1, HEAD_OF.ack, 0, 0, 0, 1, 0) },
]) {
  test(`${title} is refused`, () => {
    assert.equal(parseAll([bytes]), undefined);
  });
}

test('an announced frame takes no more memory than a frame may have', () => {
  const parser = createFrameParser();
  const head = Buffer.alloc(4);
  head.writeUInt32BE(FRAME_BYTES_MAX);

  assert.deepEqual(parser.push(head), []);
  assert.deepEqual(parser.push(Buffer.alloc(FRAME_BYTES_MAX - 1, 1)), []);
  assert.throws(() => parser.push(Buffer.alloc(1)), { code: 'ERR_SWARM_FRAME_INVALID' });
  assert.throws(() => parseFrame(Buffer.alloc(0)), { code: 'ERR_SWARM_FRAME_INVALID' });
});
