import { createLibp2pFixture } from './libp2p-fixture.ts';
import { routerSuite } from './router-suite.ts';

routerSuite({
  name: 'kad',
  canHang: true,
  createFixture: (t) => createLibp2pFixture('kad', t),
});
