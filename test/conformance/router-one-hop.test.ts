import { createLibp2pFixture } from './libp2p-fixture.ts';
import { routerSuite } from './router-suite.ts';

routerSuite({
  name: 'one-hop',
  canHang: true,
  createFixture: (t) => createLibp2pFixture('one-hop', t),
});
