import type { Digest } from '../../common/oci/digest.ts';

export interface UploadLimits {
  /** A node's uplink is shared by those who get the same from it; the rest get it from these, so that a herd is a tree. */
  readonly perBlobMax: number;
  /** Of all blobs to all peers; who is told that this node is busy finds another holder, or goes to the registry. */
  readonly max: number;
}

/** As many as one peer keeps connections: it pulls a few images of a few layers, and others are to get theirs. */
const PER_PEER_MAX = 16;

/** What is being sent to other mirrors. */
export interface Uploads {
  /** To be called when it has ended; undefined when enough is being sent. */
  begin(digest: Digest, host: string): (() => void) | undefined;
}

export function createUploads({ perBlobMax, max }: UploadLimits): Uploads {
  const byBlob = new Map<string, number>();
  const byHost = new Map<string, number>();
  let count = 0;
  return {
    begin: (digest, host) => {
      const [ofBlob, ofHost] = [byBlob.get(digest) ?? 0, byHost.get(host) ?? 0];
      if (count >= max || ofBlob >= perBlobMax || ofHost >= PER_PEER_MAX) return undefined;
      count += 1;
      byBlob.set(digest, ofBlob + 1);
      byHost.set(host, ofHost + 1);
      return () => {
        count -= 1;
        decrease(byBlob, digest);
        decrease(byHost, host);
      };
    },
  };
}

function decrease(counts: Map<string, number>, key: string): void {
  const count = (counts.get(key) ?? 1) - 1;
  if (count === 0) counts.delete(key);
  else counts.set(key, count);
}
