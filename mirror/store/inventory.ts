import type { Digest } from '../../common/oci/digest.ts';
import { formatImageReference, parseImageReference, type TagReference } from '../../common/oci/reference.ts';
import type { StoreEvent, TagRecord } from './store.ts';

/** An image's name in containerd, and what it stands for. */
export interface NamedImage {
  readonly name: string;
  readonly digest: Digest;
  readonly updatedAtMs: number;
}

interface KnownTag {
  readonly tag: TagReference;
  readonly record: TagRecord;
}

/** What a node is known to hold. Each change tells what is new about it: nothing when it was known. */
export interface Inventory {
  /** Whole content, with its length. */
  readonly sizes: ReadonlyMap<Digest, number>;
  /** The names of the images that are tags. */
  imageNames(): Iterable<string>;
  resolve(tag: TagReference): TagRecord | undefined;
  addContent(digest: Digest, sizeBytes: number): readonly StoreEvent[];
  removeContent(digest: Digest): readonly StoreEvent[];
  /** An image whose name is no tag, such as a digest, changes nothing. */
  addImage(image: NamedImage): readonly StoreEvent[];
  removeImage(name: string): readonly StoreEvent[];
  /** All there is, as it would have been told when it came. */
  all(): Iterable<StoreEvent>;
}

export function createInventory(): Inventory {
  const sizes = new Map<Digest, number>();
  const tags = new Map<string, KnownTag>();

  return {
    sizes,
    imageNames: () => tags.keys(),
    resolve: (tag) => tags.get(formatImageReference(tag))?.record,

    addContent(digest, sizeBytes) {
      const isKnown = sizes.has(digest);
      sizes.set(digest, sizeBytes);
      return isKnown ? [] : [{ type: 'content-created', digest }];
    },

    removeContent(digest) {
      return sizes.delete(digest) ? [{ type: 'content-deleted', digest }] : [];
    },

    addImage({ name, digest, updatedAtMs }) {
      const tag = parseTagName(name);
      if (tag === undefined) return [];
      const record = { digest, resolvedAtMs: updatedAtMs };
      const known = tags.get(name)?.record;
      tags.set(name, { tag, record });
      if (known === undefined) return [{ type: 'tag-created', tag, record }];
      const isSame = known.digest === digest && known.resolvedAtMs === updatedAtMs;
      return isSame ? [] : [{ type: 'tag-updated', tag, record }];
    },

    removeImage(name) {
      const known = tags.get(name);
      tags.delete(name);
      return known === undefined ? [] : [{ type: 'tag-deleted', tag: known.tag }];
    },

    *all() {
      for (const digest of sizes.keys()) yield { type: 'content-created', digest };
      for (const { tag, record } of tags.values()) yield { type: 'tag-created', tag, record };
    },
  };
}

/** A name with a digest was pulled by it, so its tag, if it has one too, was never resolved. */
function parseTagName(name: string): TagReference | undefined {
  const reference = parseImageReference(name);
  if (reference?.tag === undefined || reference.digest !== undefined) return undefined;
  return { registry: reference.registry, repository: reference.repository, tag: reference.tag };
}
