/**
 * A mirror's data path in a process of its own, so that its CPU and memory can be told from its clients'. Serves the blobs
 * of one folder; asks the peer that it is told of for the rest. Prints one line of JSON with its addresses when it listens.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { Registry as MetricsRegistry } from 'prom-client';
import { parseSwarmKeys } from '../../../certs/swarm-key.ts';
import { MiroirError } from '../../../common/errors.ts';
import { formatHostPort } from '../../../common/host-port.ts';
import { createLogger } from '../../../common/log.ts';
import { digestHex } from '../../../common/oci/digest.ts';
import { OPEN_ACCESS } from '../../../mirror/access/access.ts';
import { createPeerClient } from '../../../mirror/peers/client.ts';
import { createPeersMetrics } from '../../../mirror/peers/metrics.ts';
import { createRecords } from '../../../mirror/peers/records.ts';
import { createPeerServer } from '../../../mirror/peers/server.ts';
import { createRegistryServer } from '../../../mirror/registry/server.ts';
import type { Store } from '../../../mirror/store/store.ts';
import type { Router } from '../../../mirror/swarm/router.ts';
import { createBufferPool } from '../../../mirror/transfer/buffer-pool.ts';
import { createKernelCopy } from '../../../mirror/transfer/kernel-copy.ts';
import { createLocalContent } from '../../../mirror/transfer/local-content.ts';
import { createRegistryMetrics, createTransferMetrics } from '../../../mirror/transfer/metrics.ts';
import { createPutOff } from '../../../mirror/transfer/put-off.ts';
import { createReadNow } from '../../../mirror/transfer/read-now.ts';
import { createTransfer } from '../../../mirror/transfer/transfer.ts';

/** As the mirror's own composition has it. */
const POOL_BYTES_MAX = 24 * 1024 * 1024;

const [folder = '', peer = '', encryption = 'on', connections = 'kept'] = process.argv.slice(2);

const store: Store = {
  open: async (digest) => {
    try {
      const file = await fs.open(path.join(folder, digestHex(digest)));
      return { digest, sizeBytes: (await file.stat()).size, file };
    } catch (cause) {
      throw new MiroirError('ERR_CONTENT_NOT_FOUND', 'not in the folder', { cause });
    }
  },
  resolve: async () => undefined,
  sources: async () => [],
  watch: async function* () {},
  ingest: async () => undefined,
  ingestSize: async () => undefined,
  watchIngests: async function* () {},
};

const router: Router = {
  start: async () => {},
  stop: async () => {},
  advertise: async () => {},
  withdraw: async () => {},
  claim: async () => ({ role: 'lead' }),
  receiving: () => {},
  gaveUp: () => {},
  mayClaimFirst: () => false,
  members: () => [],
  isReady: () => true,
  lookup: async function* () {
    if (peer !== '') yield { peerId: 'holder', address: peer };
  },
};

const keys = parseSwarmKeys('ab'.repeat(32));
const address = { host: '127.0.0.1', port: 0 };
const readNow = createReadNow();
const shared = {
  store,
  router,
  pool: createBufferPool({ bytesMax: POOL_BYTES_MAX }),
  kernelCopy: createKernelCopy(readNow),
  readNow,
  records: createRecords(),
  putOff: createPutOff(),
  local: createLocalContent({ store, now: Date.now }),
  log: createLogger({ write: (line) => process.stderr.write(line), now: () => new Date() }, { level: 'warn' }),
  now: Date.now,
  random: Math.random,
  isTooBusy: () => false,
};
const options = { keys, encryption: encryption === 'off' ? 'off' : 'on' } as const;
const metrics = new MetricsRegistry();
const peers = createPeerServer(
  { ...shared, readers: OPEN_ACCESS.readers, metrics: createPeersMetrics(metrics) },
  { ...options, address, uploads: { perBlobMax: 4, max: 64 } },
);
const client = createPeerClient(shared, {
  ...options,
  ...(connections === 'new' && { limits: { idleConnectionsMax: 0 } }),
});
const transfer = createTransfer({ ...shared, client, metrics: createTransferMetrics(metrics), inherit: () => {} });
/** Its client keeps nothing, where a containerd would have it in its store after a transfer, and not ask again. */
const takenIn: typeof transfer.blob = async (wanted, range, asked) => {
  const found = await transfer.blob(wanted, range, asked);
  return (
    found && {
      ...found,
      send: async (...to) => {
        const outcome = await found.send(...to);
        transfer.arrived(wanted.digest);
        return outcome;
      },
    }
  );
};
const registry = createRegistryServer(
  {
    ...shared,
    transfer: { ...transfer, blob: takenIn },
    metrics: createRegistryMetrics(metrics),
    introductions: { isFirstSeen: async () => false },
    access: OPEN_ACCESS,
  },
  { address, registries: [] },
);
const signal = new AbortController().signal;
await peers.start(signal);
await registry.start(signal);
process.stdout.write(
  `${JSON.stringify({ registry: formatHostPort(registry.address()), peers: formatHostPort(peers.address()) })}\n`,
);
