import { MiroirError } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import { type Digest, parseDigest } from '../../common/oci/digest.ts';
import type { ContainerdClient } from '../../containerd/api/client.ts';
import { followEvents } from '../../containerd/events.ts';
import { blobFolder, blobSize, listBlobs } from './blob-files.ts';
import { type Changes, createChangeInbox } from './changes.ts';
import { type FollowedFolder, followFolder } from './follow-folder.ts';
import type { Ingests } from './ingests.ts';
import type { Inventory } from './inventory.ts';
import type { StoreEvent } from './store.ts';

export interface ContainerdWatchDeps {
  readonly client: ContainerdClient;
  readonly log: Logger;
  /** Kept by this watch alone. */
  readonly inventory: Inventory;
  /** Told where to look, and when containerd is gone. */
  readonly ingests: Pick<Ingests, 'follow' | 'doubt' | 'stop'>;
}

export interface ContainerdWatch {
  /** As Store.watch says. */
  run(signal: AbortSignal): AsyncGenerator<StoreEvent>;
  /** Makes the watch look at a blob whose file was found missing or too short. */
  lookAt(digest: Digest): void;
  contentRoot(): string | undefined;
  hasListed(): boolean;
  isLive(): boolean;
}

/** What no event tells, such as a blob that only another namespace still uses, is found this late. */
const RECONCILE_MS = 5 * 60_000;
/** The same while the folder cannot be watched, and after a failure. */
const RECONCILE_SOON_MS = 2_000;
/** containerd does not say when a subscription has begun; what fell in between is found this much later. */
const SETTLE_MS = 500;
/**
 * A blob's file is there before containerd's transaction with its metadata ends, usually by milliseconds. After the last
 * of these delays the blob is another namespace's.
 */
const METADATA_RETRY_MS = [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024] as const;
/** Blobs looked at side by side; more would only queue up in containerd and in the thread pool. */
const BATCH_BLOBS_MAX = 32;

const NOTHING: readonly StoreEvent[] = [];

/** Keeps the inventory as containerd's events, its lists and the folder of its blobs say, and tells what changes. */
export function createContainerdWatch({ client, log, inventory, ingests }: ContainerdWatchDeps): ContainerdWatch {
  const inbox = createChangeInbox();
  /** Blobs on disk that the namespace does not know: when an image comes, they may become its content without a trace. */
  const unclaimed = new Set<Digest>();
  const attempts = new Map<Digest, number>();
  const timers = new Set<NodeJS.Timeout>();
  let folder: { readonly path: string; readonly followed: FollowedFolder } | undefined;
  let contentRoot: string | undefined;
  let hasListed = false;
  let isFollowed = false;
  let hasFailed = false;

  function later(delayMs: number, action: () => void): void {
    const timer = setTimeout(() => {
      timers.delete(timer);
      action();
    }, delayMs);
    timers.add(timer);
  }

  async function followContainerd(signal: AbortSignal): Promise<void> {
    for await (const event of followEvents({ client, log }, signal)) {
      switch (event.type) {
        case 'subscribed':
          isFollowed = true;
          inbox.addEverything();
          later(SETTLE_MS, inbox.addEverything);
          break;
        case 'lost':
          isFollowed = false;
          ingests.doubt();
          break;
        case 'content-created':
          inbox.addDigest(event.digest);
          break;
        case 'image-created':
        case 'image-updated':
        case 'image-deleted':
          inbox.addImage(event.name);
      }
    }
  }

  function followBlobs(root: string): void {
    const blobs = blobFolder(root);
    if (folder?.path === blobs) {
      folder.followed.check();
      return;
    }
    folder?.followed.close();
    const followed = followFolder({ folder: blobs, entry: /^[0-9a-f]{64}$/ }, (name) => {
      const digest = name === undefined ? undefined : parseDigest(`sha256:${name}`);
      if (digest === undefined) inbox.addEverything();
      else inbox.addDigest(digest);
    });
    folder = { path: blobs, followed };
    if (!followed.isWatching()) log.warn('Cannot watch the folder of blobs, so changes show late', { folder: blobs });
  }

  async function* lookAtEverything(signal: AbortSignal): AsyncGenerator<StoreEvent> {
    const root = await client.contentRoot(signal);
    contentRoot = root;
    await ingests.follow(root);
    followBlobs(root); // Before listing, so that nothing falls in between.
    const images = await client.images.list(signal);
    const known = new Map<Digest, number>();
    for await (const { digest, sizeBytes } of client.content.list(signal)) known.set(digest, sizeBytes);
    const onDisk = new Set((await listBlobs(root)).flatMap((name) => parseDigest(`sha256:${name}`) ?? []));

    unclaimed.clear();
    for (const digest of onDisk) if (!known.has(digest)) unclaimed.add(digest);
    for (const digest of inventory.sizes.keys()) {
      if (!known.has(digest) || !onDisk.has(digest)) yield* inventory.removeContent(digest);
    }
    const news = [...known].filter(([digest]) => onDisk.has(digest) && !inventory.sizes.has(digest));
    yield* inBatches(news, async ([digest, sizeBytes]) => addIfWhole(root, digest, sizeBytes));

    const gone = new Set(inventory.imageNames());
    for (const image of images) {
      gone.delete(image.name);
      yield* inventory.addImage(image);
    }
    for (const name of gone) yield* inventory.removeImage(name);
  }

  async function addIfWhole(root: string, digest: Digest, sizeBytes: number): Promise<readonly StoreEvent[]> {
    const size = await blobSize(root, digest);
    if (size === sizeBytes) return inventory.addContent(digest, sizeBytes);
    if (size !== undefined) log.warn('A blob on disk is not as long as it should be', { digest, size, sizeBytes });
    return inventory.removeContent(digest);
  }

  async function lookAtBlob(root: string, digest: Digest, signal: AbortSignal): Promise<readonly StoreEvent[]> {
    const attempt = attempts.get(digest) ?? 0;
    attempts.delete(digest);
    unclaimed.delete(digest);
    const knownBytes = inventory.sizes.get(digest);
    if (knownBytes !== undefined) return addIfWhole(root, digest, knownBytes);
    if ((await blobSize(root, digest)) === undefined) return NOTHING;
    const info = await client.content.info(digest, signal);
    if (info !== undefined) return addIfWhole(root, digest, info.sizeBytes);
    const retryMs = METADATA_RETRY_MS[attempt];
    if (retryMs === undefined) {
      unclaimed.add(digest);
      return NOTHING;
    }
    attempts.set(digest, attempt + 1);
    later(retryMs, () => inbox.addDigest(digest));
    return NOTHING;
  }

  async function lookAtImage(name: string, signal: AbortSignal): Promise<readonly StoreEvent[]> {
    const image = await client.images.get(name, signal);
    if (image !== undefined && unclaimed.size > 0) inbox.addEverything();
    return image === undefined ? inventory.removeImage(name) : inventory.addImage(image);
  }

  async function* lookAt(changes: Changes, signal: AbortSignal): AsyncGenerator<StoreEvent> {
    if (changes.everything) {
      yield* lookAtEverything(signal);
      if (!hasListed) yield { type: 'listed' };
      hasListed = true;
    }
    const root = contentRoot;
    if (root !== undefined) yield* inBatches([...changes.digests], async (digest) => lookAtBlob(root, digest, signal));
    yield* inBatches([...changes.images], async (name) => lookAtImage(name, signal));
    hasFailed = false;
  }

  async function* follow(signal: AbortSignal): AsyncGenerator<StoreEvent> {
    yield* inventory.all();
    let reconciling: NodeJS.Timeout | undefined;
    while (!signal.aborted) {
      const isSlow = folder?.followed.isWatching() ?? true;
      reconciling ??= setTimeout(inbox.addEverything, isSlow ? RECONCILE_MS : RECONCILE_SOON_MS);
      const changes = await inbox.take(signal);
      if (changes.everything) {
        clearTimeout(reconciling);
        reconciling = undefined;
      }
      try {
        yield* lookAt(changes, signal);
      } catch (error) {
        if (!(error instanceof MiroirError)) throw error;
        if (signal.aborted) break;
        if (!hasFailed) log.warn('Cannot read what containerd holds; trying again', { error });
        hasFailed = true;
        later(RECONCILE_SOON_MS, inbox.addEverything);
      }
    }
    clearTimeout(reconciling);
  }

  async function* run(outerSignal: AbortSignal): AsyncGenerator<StoreEvent> {
    const stopping = new AbortController();
    const signal = AbortSignal.any([outerSignal, stopping.signal]);
    const following = followContainerd(signal);
    following.catch(() => stopping.abort()); // A fault: thrown below.
    try {
      yield* follow(signal);
    } finally {
      stopping.abort();
      folder?.followed.close();
      ingests.stop();
      for (const timer of timers) clearTimeout(timer);
      await following;
    }
  }

  return {
    run,
    lookAt: (digest) => inbox.addDigest(digest),
    contentRoot: () => contentRoot,
    hasListed: () => hasListed,
    isLive: () => hasListed && isFollowed,
  };
}

/** Looks at many things a batch at a time, and yields what each look found. */
async function* inBatches<T>(
  all: readonly T[],
  look: (one: T) => Promise<readonly StoreEvent[]>,
): AsyncGenerator<StoreEvent> {
  for (let start = 0; start < all.length; start += BATCH_BLOBS_MAX) {
    const found = await Promise.all(all.slice(start, start + BATCH_BLOBS_MAX).map(look));
    yield* found.flat();
  }
}
