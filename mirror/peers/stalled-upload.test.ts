import { test } from 'node:test';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import { startTestMirror, TEST_KEYS } from '../../test/conformance/oci-test-mirror.ts';
import { until } from '../../test/lab/namespace.ts';
import { createMemoryHub } from '../swarm/memory.ts';
import { createBufferPool } from '../transfer/buffer-pool.ts';
import type { PeerBody } from '../transfer/peer-client.ts';
import { createPeerClient } from './client.ts';
import { createRecords } from './records.ts';

const APP = { registry: 'hub.example' as Registry, repository: 'library/app' as Repository };

for (const encryption of ['on', 'off'] as const) {
  test(`who takes nothing of what it asked for keeps no place, encryption ${encryption}`, async (t) => {
    const options = { name: 'node', hub: createMemoryHub(), encryption, uploadStallMs: 500 };
    const { store, peerAddress } = await startTestMirror(t, options);
    // More than the kernel takes in for those who do not read.
    const digest = store.put(Buffer.alloc(64_000_000, 'large'));
    const wanted = { kind: 'blob', digest, ...APP } as const;
    const pool = createBufferPool({ bytesMax: 16 * 1024 * 1024 });
    const client = createPeerClient(
      { pool, records: createRecords(), now: Date.now },
      { keys: TEST_KEYS, encryption, limits: { dialTimeoutMs: 5000, firstByteTimeoutMs: 5000 } },
    );
    t.after(() => client.close());
    const get = () => client.get(peerAddress, wanted, 0, undefined, AbortSignal.timeout(5000));
    for (let count = 0; count < 4; count += 1) {
      (await get()).pipe({ chunk: () => {}, end: () => {}, failed: () => {} });
    }

    let body: PeerBody | undefined;
    await until(async () => {
      // Busy at first.
      body = await get().catch(() => undefined);
      return body !== undefined;
    }, AbortSignal.timeout(10_000));

    body?.cancel();
  });
}
