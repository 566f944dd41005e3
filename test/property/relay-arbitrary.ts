import fc from 'fast-check';
import { NEVER, type Script, type World } from './relay-world.ts';

const optional = (value: fc.Arbitrary<number>) => fc.option(value, { nil: undefined });

const rarely = (value: fc.Arbitrary<number>) =>
  fc.oneof({ arbitrary: fc.constant(NEVER), weight: 9 }, { arbitrary: value, weight: 1 });

const answers = fc.constantFrom<Script['answer']>(
  'head',
  'head',
  'head',
  'head',
  'absent',
  'unavailable',
  'wrong-size',
);

const script = fc
  .record({
    answer: answers,
    breaksAfter: optional(fc.nat({ max: 40 })),
    corruptAt: fc.option(fc.nat({ max: 59 }), { nil: undefined, freq: 2 }),
    chunkBytes: fc.integer({ min: 1, max: 30 }),
    isLate: fc.boolean(),
  })
  .map(scriptOf);

/** One that is good enough to have its turn. */
const scriptOfTurns = fc
  .record({
    answer: fc.oneof({ arbitrary: fc.constant('head' as const), weight: 6 }, { arbitrary: answers, weight: 1 }),
    breaksAfter: fc.option(fc.nat({ max: 150 }), { nil: undefined, freq: 2 }),
    corruptAt: fc.oneof(
      { arbitrary: fc.constant(undefined), weight: 4 },
      { arbitrary: fc.nat({ max: 159 }), weight: 1 },
    ),
    chunkBytes: fc.integer({ min: 1, max: 8 }),
    isLate: fc.oneof({ arbitrary: fc.constant(false), weight: 4 }, { arbitrary: fc.boolean(), weight: 1 }),
  })
  .map(scriptOf);

function scriptOf({
  breaksAfter,
  corruptAt,
  ...rest
}: Omit<Script, 'breaksAfter' | 'corruptAt'> & {
  readonly breaksAfter: number | undefined;
  readonly corruptAt: number | undefined;
}): Script {
  return {
    ...rest,
    ...(breaksAfter !== undefined && { breaksAfter }),
    ...(corruptAt !== undefined && { corruptAt }),
  };
}

const happenings = {
  start: fc.oneof(fc.constant(0), fc.nat({ max: 59 })),
  length: optional(fc.integer({ min: 1, max: 80 })),
  verifies: fc.boolean(),
  deadlineAt: fc.oneof(fc.constant(NEVER), fc.nat({ max: 20 })),
  clientGoneAt: fc.oneof(fc.constant(NEVER), fc.constant(NEVER), fc.nat({ max: 20 })),
  giveWayAt: fc.oneof(fc.constant(NEVER), fc.constant(NEVER), fc.nat({ max: 20 })),
  takenBytes: fc.integer({ min: 1, max: 40 }),
  partBytes: fc.integer({ min: 1, max: 12 }),
  windowParts: fc.integer({ min: 1, max: 5 }),
  order: fc.array(fc.nat({ max: 5 }), { minLength: 1, maxLength: 20 }),
};

interface Happenings extends Omit<World, 'content' | 'plan'> {
  readonly size: number;
  readonly start: number;
  readonly length: number | undefined;
  readonly keepBytesMax: number;
  readonly verifies: boolean;
  readonly partBytes: number;
  readonly windowParts: number;
}

function worldOf({ size, start, length, keepBytesMax, verifies, partBytes, windowParts, ...rest }: Happenings): World {
  const from = size === 0 ? 0 : start % size;
  const end = length === undefined ? {} : { end: from + length };
  return {
    ...rest,
    content: Array.from({ length: size }, (_, index) => (index * 7 + 3) % 251),
    plan: {
      start: from,
      ...end,
      keepBytesMax,
      verifies,
      sizeBytesMax: 1000,
      turns: { partBytes, windowBytes: partBytes * windowParts },
    },
  };
}

const anyWorld = fc
  .record({
    ...happenings,
    size: fc.nat({ max: 60 }),
    keepBytesMax: fc.constantFrom(0, 10, 100),
    scripts: fc.array(script, { maxLength: 6 }),
    slowAt: fc.array(fc.nat({ max: 30 }), { maxLength: 6 }),
    turnsAt: fc.array(fc.nat({ max: 20 }), { maxLength: 6 }),
    aloneAt: fc.array(fc.nat({ max: 60 }), { maxLength: 2 }),
    batchSize: fc.integer({ min: 1, max: 3 }),
  })
  .map(worldOf);

/** Large content in small chunks, of peers that are found together, so that two come to send in turns. */
export const worldOfTurns: fc.Arbitrary<World> = fc
  .record({
    ...happenings,
    size: fc.integer({ min: 40, max: 160 }),
    keepBytesMax: fc.constant(0),
    scripts: fc.array(scriptOfTurns, { minLength: 3, maxLength: 6 }),
    deadlineAt: fc.constant(NEVER),
    clientGoneAt: rarely(fc.nat({ max: 100 })),
    giveWayAt: rarely(fc.nat({ max: 100 })),
    slowAt: fc.array(fc.nat({ max: 100 }), { maxLength: 2 }),
    turnsAt: fc.array(fc.integer({ min: 3, max: 40 }), { minLength: 4, maxLength: 10 }),
    aloneAt: fc.array(fc.nat({ max: 100 }), { maxLength: 2 }),
    batchSize: fc.integer({ min: 2, max: 6 }),
  })
  .map(worldOf);

export const world: fc.Arbitrary<World> = fc.oneof(anyWorld, worldOfTurns);
