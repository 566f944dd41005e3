import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { Registry as MetricsRegistry } from 'prom-client';
import { MiroirError } from '../../common/errors.ts';
import { createLogger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import type { Registry, Repository } from '../../common/oci/reference.ts';
import type { AskedContent, Right } from '../upstream/registry-client.ts';
import { createAccess, type PrivateImages, type WantedRight } from './access.ts';
import type { Named, Readers } from './known-rights.ts';
import { createAccessMetrics } from './metrics.ts';

const HUB = 'hub.example' as Registry;
const digestOf = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}` as Digest;
const LAYER = digestOf('layer');
const FOREIGN = digestOf('foreign');
const MANIFEST = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    config: { digest: digestOf('config') },
    layers: [{ digest: LAYER }, { digest: FOREIGN, urls: ['https://elsewhere.example/'] }],
  }),
);
const INDEX = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [{ digest: digestOf(String(MANIFEST)) }] }));
const wantedOf = (kind: 'manifest' | 'blob', digest: Digest, repository = 'team/app', registry = HUB): WantedRight => ({
  kind,
  digest,
  registry,
  repository: repository as Repository,
});
const IMAGE = wantedOf('manifest', digestOf(String(MANIFEST)));
const BLOB = wantedOf('blob', LAYER);
const basic = (password: string) => `Basic ${Buffer.from(`me:${password}`).toString('base64')}`;
const RIGHT = basic('right');
const WRONG = basic('wrong');
const MINUTE_MS = 60_000;

type Says = (content: AskedContent, authorization: string | undefined) => Right | 'unavailable' | 'never';

/** Private to all but one secret. */
const locked: Says = (_content, authorization) => (authorization === RIGHT ? 'allowed' : 'denied');

interface StartOptions {
  readonly privateImages?: PrivateImages;
  readonly listed?: readonly Registry[];
  readonly stored?: ReadonlyMap<Digest, Uint8Array>;
}

function start(says: Says, { privateImages = 'prove', listed = [], stored = new Map() }: StartOptions = {}) {
  const state = {
    says,
    isThere: true,
    nowMs: 0,
    questions: [] as string[],
    log: '',
    peersSay: undefined as Readers | undefined,
  };
  const metrics = new MetricsRegistry();
  const access = createAccess(
    {
      registries: {
        rightTo: async (content, authorization) => {
          state.questions.push(`${content.kind} ${content.digest} ${authorization ?? '-'}`);
          const said = state.says(content, authorization);
          if (said === 'never') return Promise.withResolvers<Right>().promise;
          if (said === 'unavailable') throw new MiroirError('ERR_REGISTRY_UNAVAILABLE', 'no answer');
          return said;
        },
        isThere: async () => state.isThere,
      },
      askPeers: async () => state.peersSay,
      readManifest: async (digest) => stored.get(digest),
      log: createLogger(
        {
          write: (line) => {
            state.log += line;
          },
          now: () => new Date(0),
        },
        { level: 'debug' },
      ),
      metrics: createAccessMetrics(metrics),
      now: () => state.nowMs,
    },
    { privateImages, listed, hashKey: Buffer.alloc(32, 7) },
  );
  const signal = AbortSignal.timeout(10_000);
  return {
    state,
    access,
    /** As the local registry does for what it has found. */
    ask: async (wanted: WantedRight, authorization?: string) =>
      access.known(wanted, authorization) ?? (await access.ask(wanted, authorization, signal)),
    goAway: () => {
      state.says = () => 'unavailable';
      state.isThere = false;
    },
  };
}

test('what everybody may read is served, and the registry is asked once for all of an image', async () => {
  const { access, ask, state } = start(() => 'public');

  assert.equal(await ask(IMAGE), 'granted');
  access.found(IMAGE, MANIFEST, false);

  assert.equal(access.known(BLOB, undefined), 'granted');
  assert.equal(access.known(IMAGE, WRONG), 'granted');
  assert.equal(state.questions.length, 1);
});

test('a private image is served to whose secret the registry accepts, and to nobody else', async () => {
  const { access, ask, state } = start(locked);

  assert.equal(await ask(IMAGE), 'challenge');
  assert.equal(await ask(IMAGE, 'Bearer abc'), 'challenge');
  assert.equal(await ask(IMAGE, WRONG), 'refused');
  assert.equal(await ask(IMAGE, RIGHT), 'granted');
  access.found(IMAGE, MANIFEST, false);

  assert.equal(access.known(BLOB, RIGHT), 'granted');
  assert.equal(access.known(BLOB, WRONG), 'refused');
  assert.equal(access.known(BLOB, undefined), 'challenge');
  assert.equal(access.known(wantedOf('manifest', digestOf('next')), undefined), 'challenge');
  assert.equal(state.questions.length, 3);
  assert.ok(!state.log.includes(RIGHT.slice(6)) && !state.log.includes('right'));
});

test('a right to one name gives none to the same bytes under another', async () => {
  const { ask, access } = start(({ repository }) => (repository === 'team/app' ? 'public' : 'absent'));
  await ask(IMAGE);
  access.found(IMAGE, MANIFEST, false);

  assert.equal(await ask(wantedOf('blob', LAYER, 'team/other')), 'challenge');
  assert.equal(access.known(wantedOf('blob', LAYER, 'team/app', 'evil.example' as Registry), undefined), undefined);
  assert.equal(access.known(wantedOf('blob', FOREIGN), undefined), undefined, 'what the registry need not have');
});

test('what a registry does not have says nothing of the rest of its repository', async () => {
  const { ask, access } = start(() => 'absent');

  assert.equal(await ask(IMAGE), 'challenge');
  assert.equal(access.known(wantedOf('manifest', digestOf('next')), undefined), undefined);
});

test('who does not name a registry is refused', async () => {
  const { ask, state } = start(() => 'public');

  assert.equal(await ask({ ...IMAGE, registry: undefined }), 'refused');
  assert.deepEqual(state.questions, []);
});

test('layers of a manifest that came from the registry are asked about by it', async () => {
  const { ask, access, state } = start(() => 'public', { stored: new Map([[IMAGE.digest, MANIFEST]]) });
  access.leftToRegistry(IMAGE);

  assert.equal(await ask(BLOB), 'granted');
  assert.equal(access.known(wantedOf('blob', digestOf('config')), undefined), 'granted');
  assert.deepEqual(state.questions, [`manifest ${IMAGE.digest} -`]);
});

test('an index stands for its manifests, and those for their layers', async () => {
  const { ask, access, state } = start(() => 'public');
  const index = wantedOf('manifest', digestOf(String(INDEX)));
  await ask(index);
  access.found(index, INDEX, false);
  access.found(IMAGE, MANIFEST, false);

  assert.equal(await ask(BLOB), 'granted');
  assert.equal(state.questions.length, 1);
});

test('rights are asked for again after ten minutes, and a pull goes on for an hour', async () => {
  const { ask, access, state } = start(locked);
  await ask(IMAGE, RIGHT);
  access.found(IMAGE, MANIFEST, false);
  state.says = () => 'denied';
  state.nowMs = 11 * MINUTE_MS;

  assert.equal(access.known(BLOB, RIGHT), 'granted');
  assert.equal(await ask(IMAGE, RIGHT), 'refused');
  assert.equal(access.known(BLOB, RIGHT), 'refused');
});

for (const { title, wanted, authorization, bound, prove, always } of [
  { title: 'what was public', wanted: 'public', prove: 'granted', always: 'granted' },
  { title: 'whose secret was right', wanted: 'locked', authorization: RIGHT, prove: 'granted', always: 'granted' },
  { title: 'whose secret was wrong', wanted: 'locked', authorization: WRONG, prove: 'refused', always: 'refused' },
  { title: 'nobody in particular', wanted: 'locked', prove: 'challenge', always: 'challenge' },
  { title: 'a secret never seen', wanted: 'locked', authorization: basic('new'), prove: 'granted', always: 'refused' },
  { title: 'what was never asked about', wanted: 'unknown', prove: 'granted', always: 'challenge' },
  { title: 'a registry never heard of', wanted: 'nowhere', prove: 'challenge', always: 'challenge' },
  {
    title: 'a tag of a registry never heard of',
    wanted: 'nowhere',
    bound: true,
    prove: 'granted',
    always: 'challenge',
  },
] as const) {
  for (const [privateImages, expected] of [
    ['prove', prove],
    ['prove-always', always],
  ] as const) {
    test(`in an outage ${title} is ${expected} by ${privateImages}`, async () => {
      const { ask, access, state, goAway } = start(() => 'public', { privateImages });
      await ask(wantedOf('manifest', digestOf('public'), 'team/public'));
      state.says = locked;
      const secret = wantedOf('manifest', digestOf('locked'), 'team/locked');
      for (const one of [undefined, RIGHT, WRONG]) await ask(secret, one);
      const asked = {
        public: wantedOf('manifest', digestOf('public'), 'team/public'),
        locked: secret,
        unknown: wantedOf('manifest', digestOf('unknown'), 'team/unknown'),
        nowhere: wantedOf('manifest', IMAGE.digest, 'team/app', 'nowhere.invalid' as Registry),
      }[wanted];
      goAway();
      state.nowMs = 24 * 60 * MINUTE_MS;
      if (bound === true) access.found(asked, MANIFEST, true);

      assert.equal(await ask(asked, authorization), expected);
    });
  }
}

for (const [privateImages, everybody, some, withSecret] of [
  ['prove', 'granted', 'challenge', 'granted'],
  ['prove-always', 'granted', 'challenge', 'refused'],
] as const) {
  test(`in an outage holders are asked who may read, by ${privateImages}`, async () => {
    const { ask, access, state, goAway } = start(() => 'public', { privateImages, listed: [HUB] });
    goAway();
    state.peersSay = 'everybody';
    assert.equal(await ask(IMAGE), everybody);
    access.found(IMAGE, MANIFEST, false);
    assert.equal(await ask(BLOB), everybody);

    state.peersSay = 'some';
    const secret = wantedOf('manifest', digestOf('secret'), 'team/secret');
    assert.equal(await ask(secret), some);
    assert.equal(await ask(secret, RIGHT), withSecret);

    state.says = () => 'absent';
    state.isThere = true;
    state.nowMs = MINUTE_MS;
    assert.equal(await ask(IMAGE), 'challenge', 'of no account once the registry answers');
  });
}

test('holders know who may read what they fetched from its registry', async () => {
  const { access, state } = start(locked);
  assert.equal(access.readers(IMAGE as Named), undefined);

  access.leftToRegistry(IMAGE);
  access.leftToRegistry(IMAGE);
  await new Promise(setImmediate);

  assert.deepEqual(state.questions, [`manifest ${IMAGE.digest} -`]);
  assert.equal(access.readers(IMAGE as Named), 'some');
});

test('a question that only this asker is not answered is no outage', async () => {
  const { ask, access, state } = start(locked);
  await ask(IMAGE);
  access.found(IMAGE, MANIFEST, true);
  for (const said of ['unavailable', 'never'] as const) {
    state.says = () => said;

    assert.equal(await ask(IMAGE, basic(`makes it ${said}`)), 'refused');
  }
});

test('a registry that is away is waited for once, and looked at until it is back', async () => {
  const { ask, state, goAway } = start(() => 'public', { listed: [HUB] });
  goAway();
  for (const name of ['a', 'b', 'c']) assert.equal(await ask(wantedOf('manifest', digestOf(name))), 'granted');
  state.nowMs = 30_000;
  await ask(wantedOf('manifest', digestOf('d')));
  state.nowMs = 80_000;
  await ask(wantedOf('manifest', digestOf('e')));
  assert.equal(state.questions.length, 1);

  state.isThere = true;
  state.says = locked;
  state.nowMs = 95_000;
  await ask(wantedOf('manifest', digestOf('f')));
  await new Promise(setImmediate);

  assert.equal(await ask(wantedOf('manifest', digestOf('f'))), 'challenge');
  assert.equal(state.questions.length, 2);
});

test('what was away is asked again when nobody has looked for a minute', async () => {
  const { ask, state, goAway } = start(() => 'public', { listed: [HUB] });
  goAway();
  await ask(IMAGE);
  state.says = locked;
  state.nowMs = MINUTE_MS;

  assert.equal(await ask(IMAGE), 'challenge');
});

test('the same question is asked once, and too many are refused', async () => {
  const { access, state } = start(() => 'never');
  const signal = AbortSignal.timeout(10_000);
  const twice = [IMAGE, IMAGE].map((wanted) => access.ask(wanted, undefined, signal));
  const many = Array.from({ length: 63 }, (_, index) =>
    access.ask(wantedOf('manifest', digestOf(`${index}`)), undefined, signal),
  );

  assert.equal(await access.ask(wantedOf('manifest', digestOf('one more')), undefined, signal), 'challenge');
  assert.equal(state.questions.length, 64);
  await Promise.all([...twice, ...many]);
});

test('who tries passwords does not make the right one be forgotten', async () => {
  const { ask, access } = start(locked);
  await ask(IMAGE, RIGHT);
  for (let tried = 0; tried < 50; tried += 1) await ask(IMAGE, basic(`guess ${tried}`));

  assert.equal(access.known(IMAGE, RIGHT), 'granted');
});
