import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { silentLogger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import { type IngestSighting, parseIngestRef } from '../../mirror/store/ingest-files.ts';
import { type IngestState, nextIngestState } from '../../mirror/store/ingest-state.ts';
import { createIngests } from '../../mirror/store/ingests.ts';
import type { OpenIngest } from '../../mirror/store/store.ts';
import { createIngestFolder, layerRef, makeContent } from '../conformance/ingest-folder.ts';
import { watchIngests } from '../conformance/store-ingests-suite.ts';

/** Each is a few dozen system calls and the watches they set off. */
const RUNS = 150;
const DEADLINE_MS = 5_000;
const POLL_MS = 1;

const hex = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((bytes) => Buffer.from(bytes).toString('hex'));
const digests = hex.map((digits) => `sha256:${digits}` as Digest);

test('a ref of a pull says its digest to its namespace, and nothing to any other', () => {
  const kinds = fc.constantFrom('manifest', 'index', 'layer', 'config', 'attestation', 'unknown');
  const names = fc.option(
    fc.string({ unit: 'binary' }).map((name) => `${name}@`),
    { nil: '' },
  );
  fc.assert(
    fc.property(digests, kinds, names, fc.nat(), (digest, kind, name, sequence) => {
      const ref = `k8s.io/${sequence}/${kind}-${name}${digest}`;

      assert.equal(parseIngestRef(ref, 'k8s.io'), digest);
      assert.equal(parseIngestRef(ref, 'moby'), undefined);
      assert.equal(parseIngestRef(`${ref}x`, 'k8s.io'), undefined);
      assert.equal(parseIngestRef(`x${ref}`, 'k8s.io'), undefined);
    }),
  );
});

test('what is no ref of a pull says nothing', () => {
  const prefixes = fc.string().filter((prefix) => !/^[^/]+\/\d+\/\w+-(.*@)?$/s.test(prefix));
  fc.assert(
    fc.property(prefixes, digests, (prefix, digest) => {
      assert.equal(parseIngestRef(prefix + digest, 'k8s.io'), undefined);
    }),
  );
});

test('an ingest is live only if it was made while we watched or has grown, and was not put down since', () => {
  const looks = fc.array(fc.record({ bytes: fc.nat(5), closing: fc.constantFrom('a', 'b') }), { minLength: 1 });
  const circumstances = fc.record({ wasThere: fc.boolean(), bootedAtMs: fc.constantFrom(0, 2) });
  fc.assert(
    fc.property(looks, circumstances, (all, { wasThere, bootedAtMs }) => {
      const states: IngestState[] = [];
      for (const { bytes, closing } of all) {
        const sighting: IngestSighting = {
          digest: `sha256:${'1'.repeat(64)}` as Digest,
          sizeBytes: 5,
          bytes,
          closing,
          identity: 'one file',
          bornAtMs: 1,
        };
        states.push(nextIngestState(states.at(-1), sighting, { wasThere, bootedAtMs }));
      }

      for (const [index, { isLive }] of states.entries()) {
        const begin = all.findLastIndex(({ closing }, at) => at <= index && at > 0 && closing !== all[at - 1]?.closing);
        const since = all.slice(Math.max(begin, 0), index + 1).map(({ bytes }) => bytes);
        const hasGrown = since.some((bytes, at) => at > 0 && bytes > (since[at - 1] ?? 0));
        assert.equal(isLive, bootedAtMs < 1 && ((begin < 0 && !wasThere) || hasGrown));
      }
    }),
  );
});

type Step = 'begin' | 'append' | 'put down' | 'commit' | 'abort' | 'containerd dies';

/** What containerd could do, as far as it makes sense where it stands. */
const steps = fc.array(
  fc.constantFrom<Step>('begin', 'append', 'append', 'append', 'put down', 'commit', 'abort', 'containerd dies'),
  { minLength: 1, maxLength: 14 },
);

test('whatever containerd does: who follows gets a prefix of the bytes, and then all of them or the end', async (t) => {
  await fc.assert(
    fc.asyncProperty(steps, async (all) => followThrough(t, all)),
    { numRuns: RUNS },
  );
});

async function followThrough(t: TestContext, all: readonly Step[]): Promise<void> {
  const folder = await createIngestFolder(t);
  const ingests = createIngests({ log: silentLogger }, { namespace: 'k8s.io', bootedAtMs: 0 });
  const news = watchIngests(t, { watchIngests: (signal) => ingests.watch(signal) });
  await ingests.follow(folder.root);
  const { digest, bytes } = makeContent(1000);
  const ref = layerRef(digest);
  const followers: Promise<void>[] = [];
  const now: { state: 'absent' | 'live' | 'down' | 'committed'; written: number } = { state: 'absent', written: 0 };
  let open = 0;

  const untilTrue = async (what: string, isTrue: () => Promise<boolean>) => {
    const deadline = AbortSignal.timeout(DEADLINE_MS);
    while (!(await isTrue())) {
      assert.ok(!deadline.aborted, `${what}, after ${all.join(', ')}`);
      await delay(POLL_MS);
    }
  };
  const follow = async (ingest: OpenIngest) => {
    open += 1;
    const deadline = AbortSignal.timeout(2 * DEADLINE_MS);
    try {
      for (let offset = 0; offset < bytes.length; ) {
        const grown = await ingest.grown(offset, deadline);
        if (grown === 'aborted') break;
        const { buffer, bytesRead } = await ingest.file.read(Buffer.alloc(grown - offset), 0, grown - offset, offset);
        assert.ok(bytesRead === grown - offset && buffer.equals(bytes.subarray(offset, grown)), 'other bytes');
        offset = grown;
      }
    } finally {
      await ingest.file.close();
      open -= 1;
    }
  };
  const take: Record<Step, () => Promise<void>> = {
    begin: async () => {
      if (now.state !== 'absent') return;
      await folder.prepare(ref, `${bytes.length}`);
      await folder.open(ref);
      Object.assign(now, { state: 'live', written: 0 });
    },
    append: async () => {
      if (now.state !== 'live' && now.state !== 'down') return;
      const end = Math.min(now.written + 400, bytes.length);
      if (end === now.written) return;
      await folder.append(ref, bytes.subarray(now.written, end));
      Object.assign(now, { state: 'live', written: end });
    },
    'put down': async () => {
      if (now.state !== 'live') return;
      await folder.close(ref);
      now.state = 'down';
    },
    commit: async () => {
      if ((now.state !== 'live' && now.state !== 'down') || now.written < bytes.length) return;
      await folder.commit(ref, digest);
      now.state = 'committed';
    },
    abort: async () => {
      if (now.state !== 'live' && now.state !== 'down') return;
      await folder.abort(ref);
      now.state = 'absent';
    },
    'containerd dies': async () => {
      ingests.doubt();
      if (now.state === 'live') now.state = 'down';
    },
  };

  for (const step of all) {
    await take[step]();
    const isThere = now.state === 'live' || now.state === 'committed';
    await untilTrue(`${isThere ? 'nothing' : 'something'} arrives`, async () => {
      const ingest = await ingests.open(digest);
      if (ingest === undefined) return !isThere;
      const isRight = isThere && ingest.availableBytes === now.written;
      if (isRight) followers.push(follow(ingest));
      else await ingest.file.close();
      return isRight;
    });
  }
  if (now.state === 'live') await take.abort();
  await Promise.all(followers);
  ingests.stop();

  await untilTrue('the last news is an end', async () => news.seen.at(-1)?.type !== 'ingest-started');
  const ends = news.seen.filter(({ type }) => type === 'ingest-ended').length;
  const starts = news.seen.length - ends;
  assert.ok(starts <= ends, 'a start without its end');
  assert.equal(open, 0);
}
