import assert from 'node:assert/strict';
import { createMemoryHub, createMemoryRouter } from '../../mirror/swarm/memory.ts';
import { claimsSuite } from './claims-suite.ts';
import { routerSuite, type SuiteOptions } from './router-suite.ts';

const options: SuiteOptions = {
  name: 'memory',
  canHang: false,
  createFixture: async (t) => {
    const hubs = { ours: createMemoryHub(), theirs: createMemoryHub() };
    let joined = 0;
    return {
      join: async ({ swarm = 'ours' } = {}) => {
        joined += 1;
        const address = `10.0.0.${joined}:29982`;
        const router = createMemoryRouter({ hub: hubs[swarm] }, { peerId: `peer ${joined}`, address });
        await router.start(t.signal);
        t.after(() => router.stop());
        return { router, address };
      },
      joinHangable: () => assert.fail('nothing hangs within one process'),
    };
  },
};

routerSuite(options);
claimsSuite(options);
