import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import { createSlots } from './slots.ts';

function digestOf(index: number): Digest {
  return parseDigest(`sha256:${index.toString(16).padStart(64, '0')}`) as Digest;
}

/** Slots with a clock of their own; `pass` lets time go by, a check at a time. */
function start() {
  let atMs = 0;
  let callback: (() => void) | undefined;
  let stepMs = 0;
  const gaveWay: number[] = [];
  const inLine: Digest[] = [];
  const slots = createSlots({
    gaveWay: () => {},
    isInLine: (digest) => inLine.push(digest),
    now: () => atMs,
    every: (ms, called) => {
      callback = called;
      stepMs = ms;
      return () => {
        callback = undefined;
      };
    },
  });
  const held = new Map<number, () => void>();
  return {
    slots,
    gaveWay,
    inLine,
    isChecking: () => callback !== undefined,
    follow: (index: number, hasBytes: boolean) => {
      const giveWay = () => {
        gaveWay.push(index);
        held.get(index)?.();
      };
      held.set(index, slots.hold({ digest: digestOf(index), hasBytes: () => hasBytes, giveWay }));
    },
    pass: (ms: number) => {
      for (const end = atMs + ms; atMs < end; ) {
        atMs += stepMs || ms;
        callback?.();
      }
    },
  };
}

test('what has bytes gives way to what containerd cannot begin to fetch', () => {
  const { slots, follow, pass, gaveWay } = start();
  follow(1, false);
  follow(2, true);
  follow(3, false);

  slots.led(digestOf(4));
  pass(200);

  assert.deepEqual(gaveWay, [2]);
});

test('what waits for its first byte gives way when nothing else can', () => {
  const { slots, follow, pass, gaveWay } = start();
  for (const index of [1, 2, 3]) follow(index, false);

  slots.led(digestOf(4));
  pass(200);

  assert.deepEqual(gaveWay, [1]);
});

test('nothing gives way while a slot is free, or when nothing is to be fetched', () => {
  const { slots, follow, pass, gaveWay, isChecking } = start();
  follow(1, true);
  follow(2, true);
  slots.led(digestOf(3));
  pass(200);
  slots.begun(digestOf(3));
  follow(4, true);
  pass(200);

  assert.deepEqual(gaveWay, []);
  assert.equal(isChecking(), false);
});

test('what is being fetched takes a slot too, until it is over', () => {
  const { slots, follow, pass, gaveWay } = start();
  slots.led(digestOf(1));
  slots.begun(digestOf(1));
  follow(2, true);
  follow(3, true);
  slots.led(digestOf(4));
  pass(100);
  assert.deepEqual(gaveWay, [2]);

  slots.over(digestOf(1));
  follow(5, true);
  pass(100);
  assert.deepEqual(gaveWay, [2]);
});

test('the same gives way without a byte twice in a pull, so that containerd does not take it for broken', () => {
  const { slots, follow, pass, gaveWay } = start();
  slots.led(digestOf(9));
  for (let round = 0; round < 20; round += 1) {
    for (const index of [1, 2, 3]) follow(index, false);
    pass(100);
  }

  for (const index of [1, 2, 3]) assert.equal(gaveWay.filter((one) => one === index).length, 2);
});

test('the same gives way with bytes once in a second', () => {
  const { slots, follow, pass, gaveWay } = start();
  slots.led(digestOf(9));
  for (let round = 0; round < 15; round += 1) {
    for (const index of [1, 2, 3]) follow(index, true);
    pass(100);
  }

  for (const index of [1, 2, 3]) assert.ok(gaveWay.filter((one) => one === index).length <= 2);
});

test('what waits behind three that are being fetched is told of until it begins', () => {
  const { slots, pass, inLine } = start();
  for (const index of [1, 2]) {
    slots.led(digestOf(index));
    slots.begun(digestOf(index));
  }
  slots.led(digestOf(4));
  pass(1_000);
  assert.equal(inLine.length, 0);

  slots.led(digestOf(3));
  slots.begun(digestOf(3));
  pass(1_000);
  assert.ok(inLine.length >= 4 && inLine.every((digest) => digest === digestOf(4)), `${inLine.length}`);

  const told = inLine.length;
  slots.begun(digestOf(4));
  pass(1_000);
  assert.equal(inLine.length, told);
});

test('what waits behind three that gave way a moment ago is told of until one does again', () => {
  const { slots, follow, pass, gaveWay, inLine } = start();
  slots.led(digestOf(9));
  for (let round = 0; round < 3; round += 1) {
    for (const index of [1, 2, 3]) follow(index, true);
    pass(100);
  }
  assert.deepEqual(gaveWay, [1, 2, 3]);

  pass(500);

  assert.ok(inLine.length >= 3 && inLine.every((digest) => digest === digestOf(9)), `${inLine.length}`);
  slots.begun(digestOf(9));
  const told = inLine.length;
  pass(1_000);
  assert.equal(inLine.length, told);
});

test('what never begins is not made way for after a while', () => {
  const { slots, follow, pass, gaveWay, isChecking } = start();
  slots.led(digestOf(9));
  pass(6_000);
  for (const index of [1, 2, 3]) follow(index, true);
  pass(1_000);

  assert.deepEqual(gaveWay, []);
  assert.equal(isChecking(), false);
});

const canPostpone = async () => true;

test('whoever fetches three puts a fourth off, twice', async () => {
  const { slots } = start();
  for (const index of [1, 2]) slots.led(digestOf(index));
  (await slots.mayLead(digestOf(4), canPostpone))?.();

  slots.led(digestOf(3));

  const answers = [];
  for (let round = 0; round < 3; round += 1) answers.push(await slots.mayLead(digestOf(4), canPostpone));
  answers.at(-1)?.();
  assert.deepEqual(
    answers.map((answer) => answer === undefined),
    [true, true, false],
  );
  slots.over(digestOf(1));
  assert.notEqual(await slots.mayLead(digestOf(5), canPostpone), undefined);
});

test('a fourth is put off when the third is told to be fetched while both ask', async () => {
  const { slots } = start();
  for (const index of [1, 2]) slots.led(digestOf(index));
  const thirdAnswered = await slots.mayLead(digestOf(3), canPostpone);
  const fourth = slots.mayLead(digestOf(4), canPostpone);

  slots.led(digestOf(3));
  thirdAnswered?.();

  assert.equal(await fourth, undefined);
});

test('a fourth may be fetched when the third is followed', async () => {
  const { slots } = start();
  for (const index of [1, 2]) slots.led(digestOf(index));
  const thirdAnswered = await slots.mayLead(digestOf(3), canPostpone);
  const fourth = slots.mayLead(digestOf(4), canPostpone);

  thirdAnswered?.();

  assert.notEqual(await fourth, undefined);
});

test('what cannot be put off is not waited for', async () => {
  const { slots } = start();
  for (const index of [1, 2, 3]) slots.led(digestOf(index));

  assert.notEqual(await slots.mayLead(digestOf(4), async () => false), undefined);
});
