import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Component, closing, createAssembly } from './lifecycle.ts';
import { silentLogger } from './log.ts';

/** Parts that write down what is done to them; `c` cannot be started, `x` cannot be stopped. */
function createParts(names: readonly string[]) {
  const done: string[] = [];
  const part = (name: string): Component => ({
    start: async () => {
      if (name === 'c') throw new Error('c does not start');
      done.push(`start ${name}`);
    },
    stop: async () => {
      done.push(`stop ${name}`);
      if (name === 'x') throw new Error('x does not stop');
    },
  });
  const assembly = createAssembly({ log: silentLogger }, async function* () {
    for (const name of names) {
      done.push(`build ${name}`);
      yield part(name);
    }
  });
  return { assembly, done };
}

const never = new AbortController().signal;

test('parts are started in order, each before the next is built, and stopped in the reverse order, once', async () => {
  const { assembly, done } = createParts(['a', 'b']);

  await assembly.start(never);
  await assembly.stop();
  await assembly.stop();

  assert.deepEqual(done, ['build a', 'start a', 'build b', 'start b', 'stop b', 'stop a']);
});

test('when one does not start, those before it are stopped and the error rises', async () => {
  const { assembly, done } = createParts(['a', 'c', 'b']);

  await assert.rejects(assembly.start(never), /c does not start/);

  assert.deepEqual(done, ['build a', 'start a', 'build c', 'stop a']);
});

test('one that cannot be stopped keeps no other from it', async () => {
  const { assembly, done } = createParts(['a', 'x']);
  await assembly.start(never);

  await assembly.stop();

  assert.deepEqual(done.slice(-2), ['stop x', 'stop a']);
});

test('what is only to be closed is closed at the end', async () => {
  let isClosed = false;
  const component = closing(() => {
    isClosed = true;
  });

  await component.start(never);
  assert.equal(isClosed, false);
  await component.stop();
  assert.equal(isClosed, true);
});
