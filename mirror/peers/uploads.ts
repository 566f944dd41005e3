import type { Digest } from '../../common/oci/digest.ts';

export interface UploadLimits {
  /** A node's uplink is shared by those who get the same from it; the rest get it from these, so that a herd is a tree. */
  readonly perBlobMax: number;
  /** Of all blobs to all peers; who is told that this node is busy finds another holder, or goes to the registry. */
  readonly max: number;
}

/** As many as one peer keeps connections: it pulls a few images of a few layers, and others are to get theirs. */
const PER_PEER_MAX = 16;

/** Who has had a part asks for the next one at once: its place is not given away meanwhile. */
const PLACE_KEPT_MS = 250;
/** More than end within that time, on any node. */
const PLACES_MAX = 1024;

/** What is being sent to other mirrors. */
export interface Uploads {
  /** To be called when it has ended; undefined when enough is being sent. */
  begin(digest: Digest, host: string): (() => void) | undefined;
}

export interface UploadsDeps {
  /** Milliseconds. */
  readonly now: () => number;
}

export function createUploads({ now }: UploadsDeps, { perBlobMax, max }: UploadLimits): Uploads {
  const byBlob = new Map<string, number>();
  const byHost = new Map<string, number>();
  /** In their order. */
  const endedAt = new Map<string, number>();
  let count = 0;

  const keepPlace = (place: string) => {
    endedAt.delete(place);
    endedAt.set(place, now());
    const [oldest] = endedAt.keys();
    if (endedAt.size > PLACES_MAX && oldest !== undefined) endedAt.delete(oldest);
  };

  return {
    begin: (digest, host) => {
      const [ofBlob, ofHost] = [byBlob.get(digest) ?? 0, byHost.get(host) ?? 0];
      const place = `${digest} ${host}`;
      const isKept = now() - (endedAt.get(place) ?? Number.NEGATIVE_INFINITY) <= PLACE_KEPT_MS;
      if (count >= max || (ofBlob >= perBlobMax && !isKept) || ofHost >= PER_PEER_MAX) return undefined;
      endedAt.delete(place);
      count += 1;
      byBlob.set(digest, ofBlob + 1);
      byHost.set(host, ofHost + 1);
      return () => {
        count -= 1;
        decrease(byBlob, digest);
        decrease(byHost, host);
        keepPlace(place);
      };
    },
  };
}

function decrease(counts: Map<string, number>, key: string): void {
  const count = (counts.get(key) ?? 1) - 1;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
