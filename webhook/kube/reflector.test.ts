import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { MiroirError } from '../../common/errors.ts';
import { silentLogger } from '../../common/log.ts';
import type { KubeRequest } from './client.ts';
import { createReflector, type KubeObject } from './reflector.ts';

const PATH = '/api/v1/nodes';

type Lines = (request: KubeRequest, signal: AbortSignal) => AsyncGenerator<string>;

function object(name: string, version: string): KubeObject {
  return { metadata: { name, resourceVersion: version } };
}

function event(type: string, one: object): string {
  return JSON.stringify({ type, object: one });
}

/** A watch that says this, and then nothing until it is given up. */
async function* sayAndHang(lines: readonly string[], signal: AbortSignal): AsyncGenerator<string> {
  yield* lines;
  await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }));
  throw new MiroirError('ERR_ABORTED', 'given up');
}

async function* sayAndFail(lines: readonly string[], error?: Error): AsyncGenerator<string> {
  yield* lines;
  if (error) throw error;
}

/** An apiserver that answers by a script: each list and each watch the next thing in it, and the last for ever. */
function start(t: TestContext, lists: readonly (() => object)[], watches: readonly Lines[], silenceMs?: number) {
  const requests: KubeRequest[] = [];
  const seen = { listed: 0, watched: 0 };
  const settled = Promise.withResolvers<void>();
  const reflector = createReflector<string>(
    {
      client: {
        call: async <T>(request: KubeRequest) => {
          requests.push(request);
          return (lists[Math.min(seen.listed++, lists.length - 1)] as () => object)() as T;
        },
        lines: (request, signal) => {
          requests.push(request);
          const script = watches[Math.min(seen.watched++, watches.length - 1)] as Lines;
          if (seen.watched === watches.length) setImmediate(() => setImmediate(settled.resolve));
          return script(request, signal);
        },
      },
      log: silentLogger,
      random: () => 0,
    },
    {
      path: PATH,
      query: { labelSelector: 'a=b' },
      project: ({ metadata }) => metadata.resourceVersion,
      ...(silenceMs !== undefined && { silenceMs }),
    },
  );
  t.after(() => reflector.stop());
  return { reflector, requests, lastWatch: settled.promise, start: () => reflector.start(t.signal) };
}

const listOf =
  (version: string, ...items: readonly KubeObject[]) =>
  () => ({ metadata: { resourceVersion: version }, items });
const hang: Lines = (_request, signal) => sayAndHang([], signal);

test('lists in pages, then follows from there', async (t) => {
  const pages = [
    () => ({ metadata: { resourceVersion: '5', continue: 'more' }, items: [object('n1', '1')] }),
    listOf('5', object('n2', '2')),
  ];
  const events = [
    event('ADDED', object('n3', '6')),
    event('MODIFIED', object('n1', '7')),
    event('DELETED', object('n2', '8')),
  ];
  const {
    reflector,
    requests,
    lastWatch,
    start: run,
  } = start(t, pages, [(_request, signal) => sayAndHang(events, signal)]);
  assert.equal(reflector.isSynced(), false);

  await run();
  await lastWatch;

  assert.ok(reflector.isSynced());
  assert.deepEqual(Object.fromEntries(reflector.entries()), { n1: '7', n3: '6' });
  assert.deepEqual(
    requests.map(({ query }) => [query?.['continue'], query?.['resourceVersion'], query?.['labelSelector']]),
    [
      [undefined, undefined, 'a=b'],
      ['more', undefined, 'a=b'],
      [undefined, '5', 'a=b'],
    ],
  );
});

test('a watch that ends is taken up where it was, bookmarks included', async (t) => {
  async function* endAfterBookmark() {
    yield event('BOOKMARK', object('', '9'));
  }
  const { requests, lastWatch, start: run } = start(t, [listOf('5')], [endAfterBookmark, hang]);

  await run();
  await lastWatch;

  assert.equal(requests.at(-1)?.query?.['resourceVersion'], '9');
});

const tooOld = event('ERROR', { code: 410, message: 'too old resource version' });

for (const { title, broken } of [
  { title: 'an event that says that it is too old', broken: () => sayAndFail([tooOld]) },
  {
    title: 'an answer that says that it is too old',
    broken: () => sayAndFail([], new MiroirError('ERR_KUBE_GONE', 'too old')),
  },
]) {
  test(`a watch that ends with ${title} makes it list again, and forget what is gone`, async (t) => {
    const lists = [listOf('5', object('n1', '1')), listOf('20', object('n2', '15'))];
    const { reflector, lastWatch, start: run } = start(t, lists, [broken, hang]);

    await run();
    await lastWatch;

    assert.deepEqual(Object.fromEntries(reflector.entries()), { n2: '15' });
  });
}

for (const { title, broken } of [
  {
    title: 'breaks off',
    broken: () => sayAndFail([], new MiroirError('ERR_KUBE_UNAVAILABLE', 'connection reset')),
  },
  { title: 'sends what is no JSON', broken: () => sayAndFail(['{"type":']) },
  { title: 'sends an event without an object', broken: () => sayAndFail(['{"type":"ADDED"}']) },
]) {
  test(`a watch that ${title} is taken up again, and what was known stays known`, async (t) => {
    const { reflector, requests, lastWatch, start: run } = start(t, [listOf('5', object('n1', '1'))], [broken, hang]);

    await run();
    await lastWatch;

    assert.deepEqual(Object.fromEntries(reflector.entries()), { n1: '1' });
    assert.equal(requests.at(-1)?.query?.['resourceVersion'], '5');
  });
}

test('a watch that is silent for too long is taken for dead', async (t) => {
  const { lastWatch, start: run } = start(t, [listOf('5')], [hang, hang], 20);

  await run();
  await lastWatch;
});

test('a list that fails is asked for again', async (t) => {
  const fail = () => {
    throw new MiroirError('ERR_KUBE_UNAVAILABLE', 'busy');
  };
  const { reflector, lastWatch, start: run } = start(t, [fail, listOf('5', object('n1', '1'))], [hang]);

  await run();
  await lastWatch;

  assert.equal(reflector.get('n1'), '1');
});
