import { claimsSuite } from './claims-suite.ts';
import { createLibp2pFixture } from './libp2p-fixture.ts';
import { routerSuite, type SuiteOptions } from './router-suite.ts';

const options: SuiteOptions = {
  name: 'one-hop',
  canHang: true,
  createFixture: (t) => createLibp2pFixture('one-hop', t),
};

routerSuite(options);
claimsSuite(options);
