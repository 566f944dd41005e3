import { hasCode, MiroirError } from '../../common/errors.ts';
import { applyRange, type RangeRequest } from '../../common/http/range.ts';
import type { Digest } from '../../common/oci/digest.ts';
import { MANIFEST_BYTES_MAX } from '../../common/oci/media-types.ts';
import type { TagReference } from '../../common/oci/reference.ts';
import type { Store, TagRecord } from '../store/store.ts';
import { digestKey, type Provider, type Router } from '../swarm/router.ts';
import type { BodySink } from './body-sink.ts';
import { createChunks } from './chunks.ts';
import { createFirstBytes, PATIENCE_UNKNOWN_MS } from './first-bytes.ts';
import { type BlobDeps, type FoundBlob, type FoundSize, localBlob, relayedBlob, type Source } from './found-blob.ts';
import { holdSlot } from './hold-slot.ts';
import { createKnownSizes } from './known-sizes.ts';
import { type LocalContent, type Manifest, verifyManifest } from './local-content.ts';
import { createManifestCache } from './manifest-cache.ts';
import type { TransferMetrics } from './metrics.ts';
import type { ContentRequest, PeerClient } from './peer-client.ts';
import { createPeerMemory } from './peer-memory.ts';
import { after, only, without } from './provider-batches.ts';
import type { PutOff } from './put-off.ts';
import { createReadAhead, TURNS_LIMITS } from './read-ahead.ts';
import { createRegistryPace } from './registry-pace.ts';
import { createResolver } from './resolver.ts';
import { type Find, type RelayedContent, runRelay } from './run-relay.ts';
import { createSlots, type Postpone } from './slots.ts';
import { findSources } from './sources.ts';
import { createSyncEarly } from './sync-early.ts';
import { createUnconfirmed } from './unconfirmed.ts';

export interface TransferDeps extends BlobDeps {
  readonly store: Store;
  readonly local: LocalContent;
  readonly router: Router;
  readonly client: PeerClient;
  /** Told of what containerd is to ask for again. */
  readonly putOff: PutOff;
  readonly metrics: TransferMetrics;
  /** Told of each tag that was answered from what peers know: the pull that follows is no news from its registry. */
  readonly inherit: (tag: TagReference, record: TagRecord) => void;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** From 0 to 1, as Math.random. */
  readonly random: () => number;
}

export interface TransferOptions {
  /** From a request to its first byte; then the client goes on without this mirror. */
  readonly firstByteTimeoutMs?: number;
}

export interface FoundManifest {
  readonly manifest: Manifest;
  readonly source: Source;
}

export type NamedContent = Omit<ContentRequest, 'kind'>;

export interface WantedContent extends NamedContent {
  /** The client is this node's containerd: it compares what it gets with the digest, and puts it into this node's store. */
  readonly isForStore: boolean;
}

/**
 * Gets content for this node's clients: from its own store, or from the peer that serves it best. All calls answer
 * undefined for what neither has, or not in time; they never ask a registry.
 */
export interface Transfer {
  /** What was asked for a moment ago: at once. */
  recentManifest(digest: Digest): FoundManifest | undefined;
  manifest(wanted: WantedContent, signal: AbortSignal): Promise<FoundManifest | undefined>;
  /** The manifest that a tag stands for, by who resolved it last. */
  tag(tag: TagReference, signal: AbortSignal): Promise<FoundManifest | undefined>;
  /** The whole content's size. */
  blobSize(named: NamedContent, signal: AbortSignal): Promise<FoundSize | undefined>;
  blob(wanted: WantedContent, range: RangeRequest | undefined, signal: AbortSignal): Promise<FoundBlob | undefined>;
  /** Content has come into this node's store. */
  readonly arrived: (digest: Digest) => void;
  /** The first bytes of it are here. */
  readonly begun: (digest: Digest) => void;
  /** No more of it will come. */
  readonly ended: (digest: Digest) => void;
}

/** A dial that fails, a peer that is slow, and one that answers; then upstream is the better choice. */
const FIRST_BYTE_TIMEOUT_MS = 3000;

/** Whoever has waited long enough for another to begin is told to begin itself within a moment; or what did begin is on its way, from one to the next. */
const WAIT_MORE_MS = 1_000;

/** Image configs are a few KiB; so they are verified before the client gets any of it, and a wrong peer costs nothing. */
const KEEP_BYTES_MAX = 1024 * 1024;

/** No layer is a tebibyte. */
const BLOB_BYTES_MAX = 1024 ** 4;

/** Between a tag's HEAD and its manifest's GET, and for the pods that follow; deletions elsewhere do not make it wrong. */
const FETCHED_FRESH_MS = 30_000;
const FETCHED_BYTES_MAX = 4 * 1024 * 1024;

/** A large layer at a slow peer's speed; one that takes longer stays a suspect for this content, and no more. */
const AUDIT_MS = 60_000;

/** How many holders are asked for a size. */
const SIZE_ASKS_MAX = 3;

export function createTransfer(deps: TransferDeps, options: TransferOptions = {}): Transfer {
  const { local, client, log, now } = deps;
  const firstByteTimeoutMs = options.firstByteTimeoutMs ?? FIRST_BYTE_TIMEOUT_MS;
  /** Longer where others are sent to a slow registry: then there may be nobody to ask before its first byte. */
  const waitMs = ({ registry, isForStore }: WantedContent) =>
    options.firstByteTimeoutMs ??
    Math.max(FIRST_BYTE_TIMEOUT_MS, isForStore ? firstBytes.patienceMs(registry) + WAIT_MORE_MS : 0);
  const peers = createPeerMemory({ now });
  const resolver = createResolver({ ...deps, peers });
  const relayDeps = { client, peers, log, metrics: deps.metrics, readAhead: createReadAhead({ now }) };
  const unconfirmed = createUnconfirmed({ now });
  const sizes = createKnownSizes();
  const slots = createSlots({
    now,
    every,
    gaveWay: (digest) => {
      deps.metrics.gaveWay.inc();
      deps.putOff.add(digest);
    },
    // Who asks again still leads.
    isInLine: (digest) => {
      const want = { offset: 0, patienceMs: PATIENCE_UNKNOWN_MS };
      void deps.router.claim(digestKey(digest), want, AbortSignal.timeout(firstByteTimeoutMs));
    },
  });
  const firstBytes = createFirstBytes({ now });
  const registryPace = createRegistryPace({ now });
  const sourcesDeps = { resolver, router: deps.router, peers, slots, firstBytes, log };
  let isAuditing = false;
  const chunks = createChunks();
  const syncEarly = createSyncEarly(deps);
  const fetched = createManifestCache({ now }, { bytesMax: FETCHED_BYTES_MAX, freshMs: FETCHED_FRESH_MS });

  const recentManifest = (digest: Digest): FoundManifest | undefined => {
    const own = local.recentManifest(digest);
    if (own !== undefined) return { manifest: own, source: 'local' };
    const theirs = fetched.get(digest);
    return theirs === undefined ? undefined : { manifest: theirs, source: 'peer' };
  };

  /** `known` are asked first: they said so themselves. */
  const fetchManifest = async (wanted: WantedContent, known: readonly Provider[], signal: AbortSignal) => {
    const plan = { start: 0, keepBytesMax: MANIFEST_BYTES_MAX, verifies: true, sizeBytesMax: MANIFEST_BYTES_MAX };
    const find: Find = (ended, progress) => after(known, findSources(sourcesDeps, wanted, progress, ended));
    const request = { ...wanted, kind: 'manifest' } as const;
    const content = await runRelay(relayDeps, { plan, firstByteTimeoutMs: waitMs(wanted) }, request, find, signal);
    if (content === undefined) return undefined;
    const manifest = verifyManifest(wanted.digest, await collect(content));
    fetched.put(manifest);
    return manifest;
  };

  const manifest = async (wanted: WantedContent, known: readonly Provider[], signal: AbortSignal) => {
    const own = await orAbsent(local.manifest(wanted.digest, signal), wanted.digest);
    if (own !== undefined) {
      sizes.learn(own);
      return { manifest: own, source: 'local' } as const;
    }
    const theirs = fetched.get(wanted.digest) ?? (await orAbsent(fetchManifest(wanted, known, signal), wanted.digest));
    if (theirs === undefined) return undefined;
    sizes.learn(theirs);
    return { manifest: theirs, source: 'peer' } as const;
  };

  /** What is not held, or not whole, is asked of peers. A store that cannot be read is a fault. */
  const orAbsent = async <T>(content: Promise<T>, digest: Digest): Promise<T | undefined> => {
    try {
      return await content;
    } catch (error) {
      if (hasCode(error, 'ERR_CONTENT_CORRUPT')) log.warn('content is not what it should be', { digest, error });
      else if (!hasCode(error, 'ERR_CONTENT_NOT_FOUND')) throw error;
      return undefined;
    }
  };

  const askSize = async (wanted: NamedContent, signal: AbortSignal): Promise<FoundSize | undefined> => {
    let asked = 0;
    for await (const batch of resolver.providers(wanted.digest, signal)) {
      for (const provider of batch) {
        if (asked === SIZE_ASKS_MAX) return undefined;
        asked += 1;
        try {
          const sizeBytes = await client.head(provider.address, { ...wanted, kind: 'blob' }, signal);
          return { sizeBytes, source: 'peer', peer: provider.address };
        } catch (error) {
          if (!(error instanceof MiroirError)) throw error;
          if (signal.aborted) return undefined;
          peers.blame(provider, hasCode(error, 'ERR_CONTENT_NOT_FOUND') ? 'absent' : 'unavailable');
        }
      }
    }
    return undefined;
  };

  const blobSize = async (wanted: NamedContent, signal: AbortSignal): Promise<FoundSize | undefined> => {
    const own = await orAbsent(local.open(wanted.digest, signal), wanted.digest);
    if (own !== undefined) {
      await own.file.close();
      return { sizeBytes: own.sizeBytes, source: 'local' };
    }
    const deadline = AbortSignal.any([signal, AbortSignal.timeout(firstByteTimeoutMs)]);
    return askSize(wanted, deadline);
  };

  const holding = {
    slots,
    sizeOf: async (digest: Digest) => {
      try {
        return await deps.store.ingestSize(digest, AbortSignal.timeout(firstByteTimeoutMs));
      } catch (error) {
        log.warn('cannot tell how large it will be', { digest, error });
        return undefined;
      }
    },
    endedEmpty: (digest: Digest) => deps.router.gaveUp([digestKey(digest)]),
  };

  /** containerd is told by the manifest, before it asks; a mirror that was not asked for that one is told by containerd's ingest. */
  const expectedSize = async ({ digest, isForStore }: WantedContent) =>
    sizes.of(digest) ?? (isForStore ? await holding.sizeOf(digest) : undefined);

  const fetches = async (wanted: WantedContent) => {
    const sizeBytes = await expectedSize(wanted);
    if (sizeBytes !== undefined) registryPace.led(wanted.digest, sizeBytes, wanted.registry);
  };

  const relay = async (
    wanted: WantedContent,
    bounds: AbsoluteRange & { readonly verifies: boolean },
    find: Find,
    signal: AbortSignal,
  ) => {
    const sizeBytes = bounds.sizeBytes ?? (await expectedSize(wanted));
    const limits = { keepBytesMax: KEEP_BYTES_MAX, sizeBytesMax: BLOB_BYTES_MAX, turns: TURNS_LIMITS };
    const plan = { ...bounds, ...limits, sizeBytes };
    const registry = {
      isFaster: (rate: number) => wanted.isForStore && registryPace.isFaster(wanted.digest, wanted.registry, rate),
      leave: () => registryPace.leave(wanted.digest),
    };
    const relayOptions = { plan, firstByteTimeoutMs: waitMs(wanted), registry };
    return runRelay(relayDeps, relayOptions, { ...wanted, kind: 'blob' }, find, signal);
  };

  const relayBlob = async (wanted: WantedContent, asked: RangeRequest | undefined, signal: AbortSignal) => {
    if (wanted.isForStore) {
      chunks.seen(asked);
      deps.putOff.delete(wanted.digest);
    }
    if (wanted.isForStore && chunks.mayBegin(asked)) {
      log.debug('left to the registry: the rest of it may be asked for in chunks', { digest: wanted.digest });
      return undefined;
    }
    if (wanted.isForStore && registryPace.takeLeft(wanted.digest)) {
      log.debug('left to the registry: who has the rest of it is slow', { digest: wanted.digest });
      return undefined;
    }
    const sizeOfAny = async () => (await expectedSize(wanted)) ?? (await blobSize(wanted, signal))?.sizeBytes;
    const bounds = await absoluteRange(asked, sizeOfAny);
    if (bounds === undefined) return undefined;
    const suspects = wanted.isForStore ? unconfirmed.suspects(wanted.digest) : [];
    if (suspects.length > 0) void audit(wanted, suspects);
    const begin = (gone: AbortSignal, postpone?: Postpone) => {
      const find: Find = (ended, progress) =>
        without(suspects, findSources(sourcesDeps, wanted, { ...progress, postpone }, ended));
      return relay(wanted, { ...bounds, verifies: !wanted.isForStore }, find, gone);
    };
    const part = { ...bounds, digest: wanted.digest };
    const content = await (wanted.isForStore && !chunks.areFetched()
      ? holdSlot(holding, part, begin, signal)
      : begin(signal));
    if (content === undefined && wanted.isForStore) {
      slots.led(wanted.digest);
      if (asked === undefined) void fetches(wanted);
    }
    if (content === undefined) return undefined;
    const send = async (sink: BodySink) => {
      if (!wanted.isForStore) return content.send(sink);
      const outcome = await content.send(syncEarly.during(wanted.digest, sink));
      if (outcome === 'sent' && content.end === content.sizeBytes) {
        unconfirmed.sent(wanted.digest, content.sources());
      }
      return outcome;
    };
    return relayedBlob(wanted.digest, { ...content, send });
  };

  /** Gets the content once more from each who may have sent it wrong, and compares: the relay bans who did. */
  const audit = async (wanted: NamedContent, suspects: readonly Provider[]) => {
    if (isAuditing) return;
    isAuditing = true;
    try {
      for (const suspect of suspects) {
        const whole = { start: 0, verifies: true };
        // For nobody's store: containerd, which asks for it meanwhile, is not to be sent elsewhere because of this.
        const audited = { ...wanted, isForStore: false };
        const content = await relay(audited, whole, () => only(suspect), AbortSignal.timeout(AUDIT_MS));
        if (content !== undefined && (await content.send(nowhere())) === 'sent') unconfirmed.cleared(wanted.digest);
      }
    } finally {
      isAuditing = false;
    }
  };

  return {
    recentManifest,
    manifest: (wanted, signal) => manifest(wanted, [], signal),
    tag: async ({ registry, repository, tag }, signal) => {
      const reference = { registry, repository, tag };
      for (const { digest, resolvedAtMs, providers } of await resolver.tagCandidates(reference, signal)) {
        const found = await manifest({ digest, registry, repository, isForStore: false }, providers, signal);
        if (found === undefined) continue;
        deps.inherit(reference, { digest, resolvedAtMs });
        return found;
      }
      return undefined;
    },
    blobSize,
    blob: async (wanted, range, signal) => {
      const own = await orAbsent(local.open(wanted.digest, signal), wanted.digest);
      return own === undefined ? relayBlob(wanted, range, signal) : localBlob(deps, own);
    },
    arrived: (digest) => {
      unconfirmed.arrived(digest);
      firstBytes.came(digest);
      registryPace.arrived(digest);
    },
    begun: (digest) => {
      slots.begun(digest);
      registryPace.begun(digest);
      firstBytes.came(digest);
    },
    ended: (digest) => {
      slots.over(digest);
      deps.putOff.delete(digest);
    },
  };
}

function every(ms: number, callback: () => void): () => void {
  const timer = setInterval(callback, ms).unref();
  return () => clearInterval(timer);
}

interface AbsoluteRange {
  readonly start: number;
  readonly end?: number;
  /** Of the whole, where the range is only right for that. */
  readonly sizeBytes?: number;
}

/** A relay needs to know where it starts. Only the last bytes of something need its size for that. */
async function absoluteRange(
  asked: RangeRequest | undefined,
  size: () => Promise<number | undefined>,
): Promise<AbsoluteRange | undefined> {
  if (asked === undefined) return { start: 0 };
  if (!('last' in asked)) return asked;
  const sizeBytes = await size();
  if (sizeBytes === undefined) return undefined;
  const range = applyRange(asked, sizeBytes);
  return range === 'unsatisfiable' ? undefined : range === 'whole' ? { start: 0, sizeBytes } : { ...range, sizeBytes };
}

/** Takes in content that the relay has verified whole. */
async function collect(content: RelayedContent): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  await content.send({
    write: (bytes, written) => {
      parts.push(bytes);
      written();
    },
    finish: () => {},
    cut: () => {},
    gone: new AbortController().signal,
  });
  return Buffer.concat(parts);
}

/** Takes what it is sent, and drops it. */
function nowhere(): BodySink {
  return {
    write: (_bytes, written) => written(),
    finish: () => {},
    cut: () => {},
    gone: new AbortController().signal,
  };
}
