import type { Digest } from '../../common/oci/digest.ts';
import type { BodySink } from './body-sink.ts';
import type { RelayedContent } from './run-relay.ts';
import type { SendOutcome } from './send-file.ts';
import type { Postpone, Slots } from './slots.ts';

export interface HoldSlotDeps {
  readonly slots: Slots;
  /** The size of what this node's containerd is about to receive; undefined when it is not known. */
  readonly sizeOf: (digest: Digest) => Promise<number | undefined>;
  /** A request was ended before its first byte. */
  readonly endedEmpty: (digest: Digest) => void;
}

export interface HeldPart {
  readonly digest: Digest;
  readonly start: number;
  readonly end?: number;
}

/** Gets content for this node's containerd, and ends it early when it is to give way: also before its first byte is here. */
export async function holdSlot(
  { slots, sizeOf, endedEmpty }: HoldSlotDeps,
  { digest, start, end }: HeldPart,
  begin: (signal: AbortSignal, postpone: Postpone) => Promise<RelayedContent | undefined>,
  signal: AbortSignal,
): Promise<RelayedContent | undefined> {
  const ending = new AbortController();
  const wish = Promise.withResolvers<EmptyHead>();
  let content: RelayedContent | undefined;
  const release = slots.hold({
    digest,
    hasBytes: () => content !== undefined,
    giveWay: () => (content === undefined ? void postpone() : content.giveWay()),
  });
  const postpone: Postpone = async () => {
    const sizeBytes = await sizeOf(digest);
    if (sizeBytes === undefined || start >= sizeBytes || content !== undefined) return false;
    wish.resolve({ isEmpty: true, start, end: Math.min(end ?? sizeBytes, sizeBytes), sizeBytes });
    return true;
  };
  const coming = begin(AbortSignal.any([signal, ending.signal]), postpone);
  try {
    const arrived = await Promise.race([coming, wish.promise]);
    if (arrived !== undefined && !('isEmpty' in arrived)) content = arrived;
    if (arrived !== undefined && 'isEmpty' in arrived) {
      ending.abort();
      endedEmpty(digest);
      const cancelled = (late: RelayedContent | undefined) => late?.cancel();
      coming.then(cancelled, () => {}); // Whatever became of it: it was given up.
      return emptyContent(arrived);
    }
  } finally {
    if (content === undefined) release();
  }
  return content && releasing(content, release);
}

function releasing(content: RelayedContent, release: () => void): RelayedContent {
  return {
    ...content,
    send: (sink) => content.send(sink).finally(release),
    cancel: () => {
      release();
      content.cancel();
    },
  };
}

interface EmptyHead {
  readonly isEmpty: true;
  readonly start: number;
  readonly end: number;
  readonly sizeBytes: number;
}

/** A head, and nothing behind it. */
function emptyContent(head: EmptyHead): RelayedContent {
  return {
    ...head,
    sources: () => [],
    send: async (sink: BodySink): Promise<SendOutcome> => {
      sink.cut();
      return 'short';
    },
    giveWay: () => {},
    cancel: () => {},
  };
}
