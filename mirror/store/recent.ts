import type { Digest } from '../../common/oci/digest.ts';

/** What happened to content a moment ago. */
export interface Recent<T> {
  /** Forgotten after a while, and before when much happens. */
  keep(digest: Digest, what: T): void;
  get(digest: Digest): T | undefined;
  clear(): void;
}

export interface RecentOptions {
  readonly keptMs: number;
  readonly countMax: number;
}

export function createRecent<T>({ keptMs, countMax }: RecentOptions): Recent<T> {
  const kept = new Map<Digest, { readonly what: T; readonly timer: NodeJS.Timeout }>();
  const forget = (digest: Digest) => {
    clearTimeout(kept.get(digest)?.timer);
    kept.delete(digest);
  };

  return {
    keep(digest, what) {
      forget(digest);
      const [oldest] = kept.keys();
      if (kept.size >= countMax && oldest !== undefined) forget(oldest);
      kept.set(digest, { what, timer: setTimeout(() => forget(digest), keptMs).unref() });
    },
    get: (digest) => kept.get(digest)?.what,
    clear() {
      for (const digest of kept.keys()) forget(digest);
    },
  };
}
