import type { TagReference } from '../../common/oci/reference.ts';
import { formatImageReference } from '../../common/oci/reference.ts';
import type { Store, StoreEvent, TagRecord } from './store.ts';

/** A tag that peers resolved for a pull is remembered this long: longer than a pull takes, shorter than a working day. */
const PULL_DURATION_MAX_MS = 30 * 60_000;

/** Tags remembered at once. A node pulls a few images at a time; the oldest are dropped beyond this. */
const TAGS_MAX = 4096;

export interface InheritedTags {
  /** The store, with the times of tags that peers resolved put right. */
  readonly store: Store;
  /** Remembers that a tag was answered from what peers know, so the image that the pull leaves is no news from upstream. */
  readonly inherit: (tag: TagReference, record: TagRecord) => void;
}

/**
 * containerd dates an image when a pull ends, whoever resolved its tag. When peers did, upstream was last asked when they
 * asked it, and a node that pulls an old digest during an outage must not look better informed than they are.
 */
export function createInheritedTags(deps: { readonly store: Store; readonly now: () => number }): InheritedTags {
  const inherited = new Map<string, TagRecord & { readonly answeredAtMs: number }>();

  function correct(tag: TagReference, record: TagRecord): TagRecord {
    const known = inherited.get(formatImageReference(tag));
    if (known === undefined || known.digest !== record.digest) return record;
    const sinceAnswerMs = record.resolvedAtMs - known.answeredAtMs;
    const isOfThatPull = sinceAnswerMs >= 0 && sinceAnswerMs <= PULL_DURATION_MAX_MS;
    return isOfThatPull ? { digest: record.digest, resolvedAtMs: known.resolvedAtMs } : record;
  }

  async function* watch(signal: AbortSignal): AsyncIterable<StoreEvent> {
    for await (const event of deps.store.watch(signal)) {
      const hasRecord = event.type === 'tag-created' || event.type === 'tag-updated';
      yield hasRecord ? { ...event, record: correct(event.tag, event.record) } : event;
    }
  }

  return {
    store: {
      open: (digest, signal) => deps.store.open(digest, signal),
      sources: (digest, signal) => deps.store.sources(digest, signal),
      resolve: async (tag, signal) => {
        const record = await deps.store.resolve(tag, signal);
        return record && correct(tag, record);
      },
      watch,
      ingest: (digest, signal) => deps.store.ingest(digest, signal),
      ingestSize: (digest, signal) => deps.store.ingestSize(digest, signal),
      watchIngests: (signal) => deps.store.watchIngests(signal),
    },
    inherit: (tag, record) => {
      const key = formatImageReference(tag);
      inherited.delete(key);
      inherited.set(key, { ...record, answeredAtMs: deps.now() });
      const oldest = inherited.keys().next();
      if (inherited.size > TAGS_MAX && !oldest.done) inherited.delete(oldest.value);
    },
  };
}
