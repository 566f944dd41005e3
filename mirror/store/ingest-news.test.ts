import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import type { Digest } from '../../common/oci/digest.ts';
import { createIngestNews, type IngestNews } from './ingest-news.ts';

const ONE = `sha256:${'1'.repeat(64)}` as Digest;
const TWO = `sha256:${'2'.repeat(64)}` as Digest;

/** Listens until the test ends; each call takes what is told next. */
function listen(t: TestContext, news: IngestNews) {
  const stopping = new AbortController();
  const events = news.follow(stopping.signal);
  t.after(() => stopping.abort());
  return async () => (await events.next()).value;
}

test('who is busy hears the latest of each digest', async (t) => {
  const news = createIngestNews();
  const next = listen(t, news);
  news.started(TWO, 20);
  assert.deepEqual(await next(), { type: 'ingest-started', digest: TWO, sizeBytes: 20 });

  news.started(ONE, 10);
  news.ended(ONE, false);
  news.started(ONE, 10);
  news.ended(TWO, true);

  assert.deepEqual(await next(), { type: 'ingest-started', digest: ONE, sizeBytes: 10 });
  assert.deepEqual(await next(), { type: 'ingest-ended', digest: TWO, committed: true });
});

test('each who listens hears all', async (t) => {
  const news = createIngestNews();
  news.started(ONE, 10);
  const [first, second] = [listen(t, news), listen(t, news)];
  const started = { type: 'ingest-started', digest: ONE, sizeBytes: 10 };
  assert.deepEqual([await first(), await second()], [started, started]);

  news.ended(ONE, false);

  const ended = { type: 'ingest-ended', digest: ONE, committed: false };
  assert.deepEqual([await first(), await second()], [ended, ended]);
});

test('a digest that arrives twice is committed when one of them was, whichever ends last', async (t) => {
  const news = createIngestNews();
  const next = listen(t, news);
  news.started(ONE, 10);
  await next();
  news.started(ONE, 10);

  news.ended(ONE, true);
  news.ended(ONE, false);

  assert.deepEqual(await next(), { type: 'ingest-ended', digest: ONE, committed: true });
});

test('what had not started does not end', async (t) => {
  const news = createIngestNews();
  const next = listen(t, news);

  news.ended(ONE, true);
  news.started(TWO, 20);

  assert.equal((await next())?.digest, TWO);
});
