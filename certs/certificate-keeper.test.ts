import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import test, { type TestContext } from 'node:test';
import { MiroirError } from '../common/errors.ts';
import { silentLogger } from '../common/log.ts';
import type { CertificateAndKey } from './authority.ts';
import { readBundle } from './bundle.ts';
import {
  type CertificateKeeperDeps,
  createCertificateKeeper,
  type KeptSecret,
  type SecretStore,
  type TrustStore,
} from './certificate-keeper.ts';

const TIMES = { authorityMs: 900_000, leafMs: 300_000, overlapMs: 60_000, retireMs: 120_000 };
/** Looks are asked for by the clock below, which has no other use. */
const INTERVAL_MS = 5;

function conflict(): MiroirError {
  return new MiroirError('ERR_KUBE_CONFLICT', 'somebody else was faster');
}

/** A Secret and a configuration that two keepers can share. */
function createCluster() {
  let secret: KeptSecret | undefined;
  let bundles = new Map([
    ['one', ''],
    ['two', ''],
  ]);
  let version = 0;
  const secretStore: SecretStore = {
    read: async () => secret,
    write: async (texts, seen) => {
      if (seen !== secret?.version) throw conflict();
      secret = { texts, version: String(++version), isRotationAsked: false };
    },
  };
  let trustVersion = 0;
  const trustStore: TrustStore = {
    read: async () => ({ bundles: new Map(bundles), version: String(trustVersion) }),
    write: async (names, bundle, seen) => {
      if (seen !== String(trustVersion)) throw conflict();
      trustVersion += 1;
      bundles = new Map([...names].map((name) => [name, bundle]));
    },
  };
  return {
    secretStore,
    trustStore,
    secret: () => secret,
    setSecret: (next: KeptSecret | undefined) => {
      secret = next;
    },
    trusted: () => [...bundles.values()].map(readBundle),
    bundle: () => bundles.get('one') ?? '',
  };
}

function startKeeper(
  t: TestContext,
  cluster: ReturnType<typeof createCluster>,
  deps: Partial<CertificateKeeperDeps> = {},
) {
  const leaves: CertificateAndKey[] = [];
  const rests = new Set<() => void>();
  const keeper = createCertificateKeeper(
    {
      secret: cluster.secretStore,
      // A look begins here, so the one before has ended.
      trust: {
        ...cluster.trustStore,
        read: (signal) => {
          for (const rest of rests) rest();
          rests.clear();
          return cluster.trustStore.read(signal);
        },
      },
      now: () => new Date(),
      log: silentLogger,
      use: (leaf) => leaves.push(leaf),
      metrics: { rotated: () => {} },
      ...deps,
    },
    { dnsNames: ['miroir-webhook.miroir.svc'], times: TIMES, intervalMs: INTERVAL_MS },
  );
  t.after(() => keeper.stop());
  return {
    leaves,
    start: () => keeper.start(t.signal),
    /** Resolves when it has looked around so often since now. */
    looks: async (count: number) => {
      for (let look = 0; look < count; look++) await new Promise<void>((resolve) => rests.add(resolve));
    },
  };
}

function isIssued(leaf: CertificateAndKey | undefined, bundle: string): boolean {
  const authority = new X509Certificate(bundle);
  return leaf !== undefined && new X509Certificate(leaf.certificate).verify(authority.publicKey);
}

/** The steps of a first start, and one look that finds nothing to do. */
const LOOKS = 6;

test('out of nothing comes a leaf that is trusted', async (t) => {
  const cluster = createCluster();
  const keeper = startKeeper(t, cluster);

  await keeper.start();
  await keeper.looks(LOOKS);

  assert.equal(keeper.leaves.length, 1);
  assert.ok(isIssued(keeper.leaves[0], cluster.bundle()));
});

test('two replicas that start at once share one authority, and each has a leaf of its own', async (t) => {
  const cluster = createCluster();
  const [one, two] = [startKeeper(t, cluster), startKeeper(t, cluster)];

  await Promise.all([one.start(), two.start()]);
  await Promise.all([one.looks(LOOKS), two.looks(LOOKS)]);

  assert.deepEqual(
    cluster.trusted().map(({ size }) => size),
    [1, 1],
  );
  assert.ok(isIssued(one.leaves.at(-1), cluster.bundle()));
  assert.ok(isIssued(two.leaves.at(-1), cluster.bundle()));
  assert.notEqual(one.leaves.at(-1)?.certificate, two.leaves.at(-1)?.certificate);
});

for (const { title, vandalize } of [
  { title: 'is deleted', vandalize: () => undefined },
  {
    title: 'is edited into nonsense',
    vandalize: (secret: KeptSecret) => ({ ...secret, version: 'edited', texts: { 'current.crt': 'x' } }),
  },
  {
    title: 'gets a key that is not of its certificate',
    vandalize: (secret: KeptSecret) => ({
      ...secret,
      version: 'edited',
      texts: { ...secret.texts, 'current.key': secret.texts['current.key']?.replace(/[a-z]/, 'A') ?? '' },
    }),
  },
] as const) {
  test(`a Secret that ${title} is put back, and nobody notices`, async (t) => {
    const cluster = createCluster();
    const keeper = startKeeper(t, cluster);
    await keeper.start();
    await keeper.looks(LOOKS);
    const before = { texts: cluster.secret()?.texts, trusted: cluster.trusted(), leaves: keeper.leaves.length };

    cluster.setSecret(vandalize(cluster.secret() as KeptSecret));
    await keeper.looks(LOOKS);

    assert.deepEqual(
      { texts: cluster.secret()?.texts, trusted: cluster.trusted(), leaves: keeper.leaves.length },
      before,
    );
  });
}

test('what cannot be reached is tried again, and the leaf stays', async (t) => {
  const cluster = createCluster();
  let isAway = false;
  const read: SecretStore['read'] = (signal) =>
    isAway ? Promise.reject(new MiroirError('ERR_KUBE_UNAVAILABLE', 'away')) : cluster.secretStore.read(signal);
  const keeper = startKeeper(t, cluster, { secret: { ...cluster.secretStore, read } });
  isAway = true;
  await keeper.start();
  await keeper.looks(3);
  assert.equal(keeper.leaves.length, 0);

  isAway = false;
  await keeper.looks(LOOKS);
  isAway = true;
  await keeper.looks(3);

  assert.equal(keeper.leaves.length, 1);
});

test('asked for, a new authority comes into use, and the old one goes, in its own time', async (t) => {
  const cluster = createCluster();
  let now = Date.now();
  const keeper = startKeeper(t, cluster, { now: () => new Date(now) });
  await keeper.start();
  await keeper.looks(LOOKS);
  const first = cluster.bundle();

  cluster.setSecret({ ...(cluster.secret() as KeptSecret), isRotationAsked: true });
  await keeper.looks(LOOKS);
  assert.deepEqual([cluster.trusted()[0]?.size, keeper.leaves.length], [2, 1]);
  now += TIMES.overlapMs;
  await keeper.looks(LOOKS);
  assert.deepEqual([cluster.trusted()[0]?.size, keeper.leaves.length], [2, 2]);
  now += TIMES.retireMs;
  await keeper.looks(LOOKS);

  assert.equal(cluster.trusted()[0]?.size, 1);
  assert.ok(isIssued(keeper.leaves[1], cluster.bundle()));
  assert.ok(!isIssued(keeper.leaves[1], first));
});
