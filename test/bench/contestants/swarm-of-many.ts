import { createHash } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Digest, parseDigest } from '../../../common/oci/digest.ts';
import type { Libp2pRouter } from '../../../mirror/swarm/libp2p-router.ts';
import { digestKey, type Key } from '../../../mirror/swarm/router.ts';
import { createTestMembers, createTestRouter, type RouterName } from '../../conformance/libp2p-fixture.ts';

/** Members in one process, each with a host, a port and connections of its own. */
export interface SwarmOfMany {
  readonly name: RouterName;
  readonly routers: readonly Libp2pRouter[];
  stop(): Promise<void>;
}

/** One after the other, so that the CPU of the handshakes is spread: it is not what is measured. */
export async function joinMany(name: RouterName, count: number, signal: AbortSignal): Promise<SwarmOfMany> {
  const members = createTestMembers();
  const routers: Libp2pRouter[] = [];
  const stop = async () => {
    await Promise.all(routers.map((router) => router.stop()));
  };
  try {
    for (let index = 0; index < count; index += 1) {
      const router = createTestRouter(name, { members, peerPort: 20_000 + index });
      routers.push(router);
      await router.start(signal);
      // The others hear of it when it has dialed them, as they would from DNS.
      while (router.members().length < index) await delay(5, undefined, { signal });
      members.add({ host: '127.0.0.1', port: router.swarmPort });
    }
    while (routers.some((router) => router.members().length < count - 1)) await delay(5, undefined, { signal });
  } catch (error) {
    await stop();
    throw error;
  }
  return { name, routers, stop };
}

export function numberedKey(label: string, index: number): Key {
  const hex = createHash('sha256').update(`${label} ${index}`).digest('hex');
  return digestKey(parseDigest(`sha256:${hex}`) as Digest);
}
