import { fork } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createPeerClient } from '../mirror/peers/client.ts';
import { createMemoryHub } from '../mirror/swarm/memory.ts';
import { createBufferPool } from '../mirror/transfer/buffer-pool.ts';
import { ask, startTestMirror, TEST_KEYS } from '../test/conformance/oci-test-mirror.ts';

if (process.argv[2] === 'holder') {
  const t: any = { after: () => {}, signal: AbortSignal.timeout(60000) };
  const m = await startTestMirror(t, { name: 'n', hub: createMemoryHub(), encryption: 'on' } as any);
  const data = Buffer.alloc(256 << 20, 'x');
  const digest = m.store.put(data);
  process.send!({ peer: m.peerAddress, digest });
} else {
  const child = fork(import.meta.filename, ['holder'], { execArgv: [] });
  const { peer, digest } = await new Promise<any>((r) => child.once('message', r));
  const client = createPeerClient(
    { pool: createBufferPool({ bytesMax: 24 << 20 }), now: Date.now },
    { keys: TEST_KEYS, encryption: 'on' },
  );
  for (let i = 0; i < 4; i++) {
    const c0 = process.cpuUsage();
    const t0 = performance.now();
    const body = await client.get(
      peer,
      { kind: 'blob', digest, registry: 'hub.example', repository: 'library/app' } as any,
      0,
      undefined,
      AbortSignal.timeout(20000),
    );
    let n = 0;
    await new Promise<void>((res) =>
      body.pipe({
        chunk: (b, rel) => {
          n += b.length;
          setImmediate(rel);
        },
        end: res,
        failed: (e) => {
          console.log('failed', e, n);
          res();
        },
      }),
    );
    const c = process.cpuUsage(c0);
    console.log(
      i,
      n >> 20,
      'MiB',
      (performance.now() - t0).toFixed(),
      'ms; cpu',
      (c.user + c.system) / 1000,
      'rss',
      process.memoryUsage().rss >> 20,
      'ext',
      process.memoryUsage().arrayBuffers >> 20,
    );
  }
  child.kill();
  process.exit();
}
