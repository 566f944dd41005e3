/** `node peer-downloads.ts ADDRESS KEY-FILE REPOSITORY DIGEST...`: so many peers at once, each of which gets a blob and drops it, when its input ends. */
import { readSwarmKeys } from '../../../certs/swarm-key.ts';
import { parseDigest } from '../../../common/oci/digest.ts';
import type { Repository } from '../../../common/oci/reference.ts';
import { createPeerClient } from '../../../mirror/peers/client.ts';
import { createRecords } from '../../../mirror/peers/records.ts';
import { createBufferPool } from '../../../mirror/transfer/buffer-pool.ts';
import { toldToBegin } from './told-to-begin.ts';

const POOL_BYTES_MAX = 24 * 1024 * 1024;

const [address = '', keyFile = '', repository = '', ...digests] = process.argv.slice(2);
const keys = await readSwarmKeys(keyFile);
const pool = createBufferPool({ bytesMax: POOL_BYTES_MAX });

async function download(text: string): Promise<void> {
  const digest = parseDigest(text);
  if (digest === undefined) throw new Error(`${text} is no digest`);
  const client = createPeerClient({ pool, records: createRecords(), now: Date.now }, { keys, encryption: 'on' });
  const request = { kind: 'blob', digest, repository: repository as Repository } as const;
  const body = await client.get(address, request, 0, undefined, AbortSignal.timeout(60_000));
  await new Promise<void>((resolve, reject) => {
    body.pipe({ chunk: (_bytes, release) => release(), end: resolve, failed: reject });
  });
  client.close();
}

await toldToBegin();
await Promise.all(digests.map(download));
