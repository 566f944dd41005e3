import assert from 'node:assert/strict';
import test from 'node:test';
import { MiroirError } from '../common/errors.ts';
import { createLogger } from '../common/log.ts';
import type { ContainerdEvent } from './api/client.ts';
import { followEvents } from './events.ts';

const CREATED: ContainerdEvent = { type: 'image-created', name: 'registry.example/app:v1' };
const UNAVAILABLE = new MiroirError('ERR_CONTAINERD_UNAVAILABLE', 'gone');

/** A containerd whose every life is told by the events of it, or by undefined when it is not there. */
function scripted(lives: ReadonlyArray<readonly ContainerdEvent[] | undefined>) {
  const lines: string[] = [];
  const log = createLogger({ write: (line) => lines.push(line), now: () => new Date() }, { level: 'info' });
  let life = -1;
  const client = {
    async *events() {
      life += 1;
      yield* lives[life] ?? [];
      throw UNAVAILABLE;
    },
    async serverVersion() {
      if (lives[life] === undefined) throw UNAVAILABLE;
      return '2.4.2';
    },
  };
  return { client, log, lines };
}

test('events go on after containerd went away, with a mark to list again', async () => {
  const { client, log, lines } = scripted([[CREATED], undefined, undefined, [CREATED]]);
  const stopping = new AbortController();
  const seen: string[] = [];

  for await (const { type } of followEvents({ client, log }, stopping.signal)) {
    seen.push(type);
    if (seen.filter((one) => one === 'image-created').length === 2) stopping.abort();
  }

  const away = ['lost', 'lost', 'lost'];
  assert.deepEqual(seen, ['subscribed', 'image-created', ...away, 'subscribed', 'image-created']);
  assert.deepEqual(
    lines.map((line) => (JSON.parse(line) as { msg: string }).msg),
    ['containerd went away; waiting for it', 'containerd is back'],
  );
});

test('a fault is no reason to try again', async () => {
  const { client, log } = scripted([[]]);
  const broken = { ...client, serverVersion: () => Promise.reject(new TypeError('a fault')) };

  await assert.rejects(Array.fromAsync(followEvents({ client: broken, log }, new AbortController().signal)), TypeError);
});
