import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once, setMaxListeners } from 'node:events';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { Registry } from 'prom-client';
import { parseSwarmKeys } from '../../certs/swarm-key.ts';
import type { HostPort } from '../../common/host-port.ts';
import { silentLogger } from '../../common/log.ts';
import { createKadRouter } from '../../mirror/swarm/kad.ts';
import type { Libp2pRouter } from '../../mirror/swarm/libp2p-router.ts';
import type { MembershipSource } from '../../mirror/swarm/membership.ts';
import { createOneHopRouter } from '../../mirror/swarm/one-hop.ts';
import type { SwarmFixture } from './router-suite.ts';

const ROUTERS = { 'one-hop': createOneHopRouter, kad: createKadRouter };

export type RouterName = keyof typeof ROUTERS;

const KEYS = { ours: '0f'.repeat(32), theirs: 'f0'.repeat(32) };

/** Members that are added as they come up; all nodes of a swarm follow the same. */
export interface TestMembers extends MembershipSource {
  add(member: HostPort): void;
  remove(member: HostPort): void;
}

export function createTestMembers(members: readonly HostPort[] = []): TestMembers {
  let current = members;
  const changes = new EventTarget();
  setMaxListeners(0, changes);
  const set = (next: readonly HostPort[]) => {
    current = next;
    changes.dispatchEvent(new Event('change'));
  };
  return {
    add: (member) => set([...current, member]),
    remove: ({ port }) => set(current.filter((member) => member.port !== port)),
    async *watch(signal) {
      while (!signal.aborted) {
        const changed = once(changes, 'change', { signal }).catch(() => {});
        yield current;
        await changed;
      }
    },
  };
}

export interface TestRouterOptions {
  readonly members: MembershipSource;
  readonly peerPort: number;
  readonly swarm?: keyof typeof KEYS;
  readonly registry?: Registry;
}

/** A real router on a free port of the loopback address, not started. */
export function createTestRouter(name: RouterName, options: TestRouterOptions): Libp2pRouter {
  const { members, peerPort, swarm = 'ours', registry = new Registry() } = options;
  const deps = { log: silentLogger, registry, members, now: Date.now, random: Math.random };
  const listen = { host: '127.0.0.1', port: 0 };
  return ROUTERS[name](deps, { listen, advertiseHost: undefined, peerPort, keys: parseSwarmKeys(KEYS[swarm]) });
}

export async function createLibp2pFixture(name: RouterName, t: TestContext): Promise<SwarmFixture> {
  const members = createTestMembers();
  const running: HostPort[] = [];
  let joined = 0;
  return {
    join: async ({ swarm = 'ours' } = {}) => {
      joined += 1;
      const peerPort = 20_000 + joined;
      const router = createTestRouter(name, { members, peerPort, swarm });
      t.after(() => router.stop());
      await router.start(t.signal);
      const member = { host: '127.0.0.1', port: router.swarmPort };
      members.add(member);
      running.push(member);
      return { router, address: `127.0.0.1:${peerPort}` };
    },
    joinHangable: async () => {
      const program = path.join(import.meta.dirname, 'router-member.ts');
      const child = fork(program, [name, JSON.stringify(running)], { execArgv: [] });
      t.after(() => child.kill('SIGKILL'));
      const [port] = (await once(child, 'message')) as [number];
      members.add({ host: '127.0.0.1', port });
      return () => assert.ok(child.kill('SIGSTOP'));
    },
  };
}
