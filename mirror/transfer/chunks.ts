import type { RangeRequest } from '../../common/http/range.ts';

/** What is known of whether this node's containerd fetches the parts of a layer at once (`concurrent_layer_fetch_buffer`). */
export interface Chunks {
  /** containerd asks for this of something. */
  seen(asked: RangeRequest | undefined): void;
  /** One of its requests that fails may take the others with it. */
  areFetched(): boolean;
  /**
   * Whether this may be the first of several requests, all to this mirror because it answers the first, and any of which fails
   * the pull when it is refused. What is asked for from the start is never one: its answer is of the whole.
   */
  mayBegin(asked: RangeRequest | undefined): boolean;
}

export function createChunks(): Chunks {
  /** Whoever resumes does not tell; so nobody knows before the first layer that is asked for from its start. */
  let mode: 'unknown' | 'whole' | 'chunks' = 'unknown';
  return {
    seen: (asked) => {
      if (isOpenFrom(asked, (start) => start === 0)) mode = 'chunks';
      else if (asked === undefined && mode === 'unknown') mode = 'whole';
    },
    areFetched: () => mode === 'chunks',
    mayBegin: (asked) => mode !== 'whole' && isOpenFrom(asked, (start) => start > 0),
  };
}

function isOpenFrom(asked: RangeRequest | undefined, is: (start: number) => boolean): boolean {
  return asked !== undefined && 'start' in asked && asked.end === undefined && is(asked.start);
}
