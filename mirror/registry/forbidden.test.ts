import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { ask, startTestMirror } from '../../test/conformance/oci-test-mirror.ts';
import { type Access, OPEN_ACCESS, type Permission } from '../access/access.ts';
import { createMemoryHub } from '../swarm/memory.ts';

const BLOB = randomBytes(100_000);
const MANIFEST = Buffer.from('{"schemaVersion":2,"manifests":[]}');
const AUTHORIZATION = 'Basic bWU6c2VjcmV0';

async function start(t: TestContext, permission: Permission, known?: Permission) {
  const asked: string[] = [];
  const left: string[] = [];
  const access: Access = {
    ...OPEN_ACCESS,
    known: () => known,
    ask: async ({ kind, registry, repository }, authorization) => {
      asked.push(`${kind} ${registry}/${repository} ${authorization}`);
      return permission;
    },
    leftToRegistry: ({ digest }) => left.push(digest),
  };
  const mirror = await startTestMirror(t, { name: 'node', hub: createMemoryHub(), access });
  const blob = mirror.store.put(BLOB);
  const manifest = mirror.store.put(MANIFEST);
  mirror.store.name('hub.example/team/app:1', manifest, Date.now());
  const paths = ['manifests/1', `manifests/${manifest}`, `blobs/${blob}`].map(
    (path) => `team/app/${path}?ns=hub.example`,
  );
  const get = (path: string, method = 'GET') =>
    ask(`${mirror.url}/v2/${path}`, {
      method,
      headers: { Authorization: AUTHORIZATION, 'User-Agent': 'containerd/v2' },
    });
  return { asked, left, paths, get };
}

for (const [permission, status, code] of [
  ['challenge', 401, 'UNAUTHORIZED'],
  ['refused', 403, 'DENIED'],
] as const) {
  test(`answers ${status} to whoever has no right to what is there`, async (t) => {
    const { asked, paths, get } = await start(t, permission);

    for (const path of paths) {
      for (const method of ['GET', 'HEAD']) {
        const { status: got, headers, body } = await get(path, method);
        assert.equal(got, status, `${method} ${path}`);
        assert.equal(headers['www-authenticate'], permission === 'challenge' ? 'Basic realm="miroir"' : undefined);
        if (method === 'GET') assert.match(String(body), new RegExp(code));
      }
    }

    const expected = ['manifest', 'manifest', 'manifest', 'manifest', 'blob', 'blob'];
    assert.deepEqual(
      asked,
      expected.map((kind) => `${kind} hub.example/team/app ${AUTHORIZATION}`),
    );
  });
}

test('asks nobody about what is not there, and remembers what containerd fetches instead', async (t) => {
  const { asked, left, get } = await start(t, 'refused');
  const absent = `sha256:${'0'.repeat(64)}`;

  for (const what of [`manifests/${absent}`, `blobs/${absent}`, 'manifests/none']) {
    assert.equal((await get(`team/app/${what}?ns=hub.example`)).status, 404);
  }

  assert.deepEqual(asked, []);
  assert.deepEqual(left, [absent]);
});

test('answers at once who is known to have no right, and asks nobody about who is known to have it', async (t) => {
  const refused = await start(t, 'granted', 'refused');
  const granted = await start(t, 'refused', 'granted');

  for (const path of refused.paths) assert.equal((await refused.get(path)).status, 403);
  for (const path of granted.paths) assert.equal((await granted.get(path)).status, 200);

  assert.deepEqual([...refused.asked, ...granted.asked], []);
});

test('what was found is left where its registry cannot be asked: nobody is kept from it', async (t) => {
  const hub = createMemoryHub();
  const holder = await startTestMirror(t, { name: 'holder', hub });
  // More than is on its way before anybody reads.
  const blob = holder.store.put(Buffer.alloc(64_000_000, 'large'));
  await holder.advertise();
  let isBroken = true;
  const access: Access = {
    ...OPEN_ACCESS,
    known: () => undefined,
    ask: async () => {
      if (isBroken) throw new Error('too many open files');
      return 'granted';
    },
  };
  const other = await startTestMirror(t, { name: 'other', hub, access });
  const get = () => ask(`${other.url}/v2/team/app/blobs/${blob}?ns=hub.example`);

  // As many as the holder sends one blob to at once.
  for (let count = 0; count < 4; count += 1) assert.equal((await get()).status, 503);
  isBroken = false;

  assert.equal((await get()).status, 200);
});
