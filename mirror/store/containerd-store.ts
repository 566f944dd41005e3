import os from 'node:os';
import { hasCode, MiroirError } from '../../common/errors.ts';
import type { Logger } from '../../common/log.ts';
import type { Digest } from '../../common/oci/digest.ts';
import { formatImageReference, parseRegistry, type Registry } from '../../common/oci/reference.ts';
import type { ContainerdClient } from '../../containerd/api/client.ts';
import { assertReadable, contentNotFound, openBlob } from './blob-files.ts';
import { type ContainerdWatch, createContainerdWatch } from './containerd-watch.ts';
import { createIngests } from './ingests.ts';
import { createInventory } from './inventory.ts';
import type { OpenContent, Store } from './store.ts';

export interface ContainerdStoreDeps {
  readonly client: ContainerdClient;
  readonly log: Logger;
}

export interface ContainerdStore extends Store {
  /**
   * Throws ERR_CONTENT_ROOT_UNREADABLE when containerd is there and its content cannot be read from here, and
   * ERR_CONTAINERD_UNAVAILABLE when it is not there: a watch waits for it.
   */
  probe(signal: AbortSignal): Promise<void>;
  /** Whether a watch is on, has listed all there is, and hears of changes now. */
  isLive(): boolean;
}

/** containerd's label on content for each registry it came from; its value lists the repositories. */
const SOURCE_LABEL = 'containerd.io/distribution.source.';

/**
 * What containerd holds, served from the files of its content store. containerd itself is asked only for what the
 * watch has not seen yet, so content is served while containerd restarts.
 */
export function createContainerdStore(deps: ContainerdStoreDeps): ContainerdStore {
  const { client, log } = deps;
  const inventory = createInventory();
  const bootedAtMs = Date.now() - os.uptime() * 1000;
  const ingests = createIngests({ log }, { namespace: client.namespace, bootedAtMs });
  let knownRoot: string | undefined;
  let watching: ContainerdWatch | undefined;

  async function contentRoot(signal: AbortSignal): Promise<string> {
    knownRoot = watching?.contentRoot() ?? knownRoot ?? (await client.contentRoot(signal));
    return knownRoot;
  }

  async function open(digest: Digest, signal: AbortSignal): Promise<OpenContent> {
    const file = await openBlob(await contentRoot(signal), digest);
    try {
      const sizeBytes = inventory.sizes.get(digest) ?? (await client.content.info(digest, signal))?.sizeBytes;
      if (sizeBytes === undefined) throw contentNotFound(digest);
      const { size } = await file.stat();
      if (size === sizeBytes) return { digest, sizeBytes, file };
      const message = `${digest} has ${size} bytes on disk and ${sizeBytes} in containerd's metadata`;
      throw new MiroirError('ERR_CONTENT_CORRUPT', message);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  return {
    async open(digest, signal) {
      try {
        return await open(digest, signal);
      } catch (error) {
        const isGone = hasCode(error, 'ERR_CONTENT_NOT_FOUND') || hasCode(error, 'ERR_CONTENT_CORRUPT');
        if (isGone && inventory.sizes.has(digest)) watching?.lookAt(digest); // Peers were told that it is here.
        throw error;
      }
    },

    async resolve(tag, signal) {
      if (watching?.hasListed()) return inventory.resolve(tag);
      const image = await client.images.get(formatImageReference(tag), signal);
      return image && { digest: image.digest, resolvedAtMs: image.updatedAtMs };
    },

    async sources(digest, signal) {
      const info = await client.content.info(digest, signal);
      if (info === undefined) throw contentNotFound(digest);
      return Object.keys(info.labels).flatMap((label) => parseSource(label) ?? []);
    },

    async *watch(signal) {
      const watch = createContainerdWatch({ client, log, inventory, ingests });
      watching = watch;
      try {
        yield* watch.run(signal);
      } finally {
        watching = undefined;
      }
    },

    ingest: (digest) => ingests.open(digest),
    ingestSize: (digest) => ingests.size(digest),
    watchIngests: (signal) => ingests.watch(signal),

    async probe(signal) {
      await assertReadable(await client.contentRoot(signal));
    },

    isLive: () => watching?.isLive() ?? false,
  };
}

function parseSource(label: string): Registry | undefined {
  return label.startsWith(SOURCE_LABEL) ? parseRegistry(label.slice(SOURCE_LABEL.length)) : undefined;
}
