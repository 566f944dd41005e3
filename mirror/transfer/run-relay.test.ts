import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Repository } from '../../common/oci/reference.ts';
import type { Provider } from '../swarm/router.ts';
import type { PeerBody, PeerClient } from './peer-client.ts';
import { createPeerMemory } from './peer-memory.ts';
import { createReadAhead } from './read-ahead.ts';
import { type RunRelayDeps, runRelay } from './run-relay.ts';

const BYTES = Buffer.from('what the second peer has');
const REQUEST = {
  kind: 'blob',
  digest: `sha256:${'a'.repeat(64)}` as Digest,
  repository: 'app' as Repository,
} as const;
const PLAN = { start: 0, keepBytesMax: 0, verifies: false, sizeBytesMax: 1000 };
const [SILENT, QUICK] = ['silent', 'quick'].map((name): Provider => ({ peerId: name, address: name })) as [
  Provider,
  Provider,
];

test('a peer that is late is not waited for: the next one is asked beside it, and sends', {
  timeout: 5000,
}, async (t) => {
  const asked: string[] = [];
  let dropped = 0;
  const body = (address: string): PeerBody => ({
    head: { sizeBytes: BYTES.length, start: 0, end: BYTES.length },
    pipe: (receiver) => {
      receiver.chunk(BYTES, () => {});
      receiver.end();
    },
    cancel: () => {
      dropped += address === SILENT.address ? 1 : 0;
    },
  });
  const silent = Promise.withResolvers<PeerBody>();
  const deps = depsOf({
    get: async (address) => {
      asked.push(address);
      return address === SILENT.address ? silent.promise : body(address);
    },
  });
  const find = async function* () {
    yield [SILENT, QUICK];
  };

  const content = await runRelay(deps, { plan: PLAN, firstByteTimeoutMs: 60_000 }, REQUEST, find, t.signal);

  assert.deepEqual(asked, ['silent', 'quick']);
  assert.deepEqual(content?.sources(), [QUICK]);
  silent.resolve(body(SILENT.address));
  await new Promise(setImmediate);
  assert.equal(dropped, 1);
});

test('what came before anybody wanted it is given back when nobody does', async (t) => {
  let released = 0;
  const body: PeerBody = {
    head: { sizeBytes: BYTES.length, start: 0, end: BYTES.length },
    pipe: (receiver) => {
      receiver.chunk(BYTES, () => {
        released += 1;
      });
      receiver.end();
    },
    cancel: () => {},
  };
  const deps = depsOf({ get: async () => body });
  const find = async function* () {
    yield [QUICK];
  };
  const content = await runRelay(deps, { plan: PLAN, firstByteTimeoutMs: 5000 }, REQUEST, find, t.signal);

  content?.cancel();

  assert.equal(released, 1);
});

function depsOf(client: Partial<PeerClient>): RunRelayDeps {
  const count = { inc: () => {} };
  return {
    client: client as PeerClient,
    peers: createPeerMemory({ now: Date.now }),
    log: silentLogger,
    metrics: { resumes: count, switches: count, left: count, cuts: count, bans: count } as never,
    readAhead: createReadAhead({ now: Date.now }),
  };
}
