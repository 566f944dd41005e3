import fs from 'node:fs';
import path from 'node:path';
import { setImmediate as breathe } from 'node:timers/promises';
import type { Logger } from '../../common/log.ts';
import { type Digest, digestHex } from '../../common/oci/digest.ts';
import { blobFolder } from './blob-files.ts';
import { type FollowedFolder, followFolder } from './follow-folder.ts';
import {
  INGEST_ID,
  identify,
  identifyFolder,
  ingestFolder,
  listIngests,
  lookAtIngest,
  statFile,
} from './ingest-files.ts';
import { createIngestNews } from './ingest-news.ts';
import { type IngestState, nextIngestState } from './ingest-state.ts';
import { type IngestSource, openIngest, wakeAll } from './open-ingest.ts';
import { createRecent } from './recent.ts';
import { createRounds } from './rounds.ts';
import type { IngestEvent, OpenIngest } from './store.ts';

export interface IngestsDeps {
  readonly log: Logger;
}

export interface IngestsOptions {
  /** Only what this containerd namespace receives is shared. */
  readonly namespace: string;
  /** When this machine started, by its own clock. */
  readonly bootedAtMs: number;
}

/** What containerd is receiving, followed in the folder where it keeps it. */
export interface Ingests {
  /**
   * Follows what arrives below this content root from now on. Resolves when it knows what was there before. Asked again, it makes sure
   * that it still does.
   */
  follow(contentRoot: string): Promise<void>;
  /** containerd is gone: nothing is being written, until something grows. */
  doubt(): void;
  stop(): void;
  /** As Store.ingest says. */
  open(digest: Digest): Promise<OpenIngest | undefined>;
  /** As Store.ingestSize says. */
  size(digest: Digest): Promise<number | undefined>;
  /** As Store.watchIngests says. */
  watch(signal: AbortSignal): AsyncIterable<IngestEvent>;
}

/** A node receives a few dozen at once, and a crash leaves as many. Beyond this none is added. */
const INGESTS_MAX = 4096;
/** The system's watches are shared with all that runs on the node; 8192 are usual. */
const WATCHED_INGESTS_MAX = 256;
/** How long after its commit content is found here: by then containerd's metadata, and so Store.open, knows it. */
const COMMITTED_KEPT_MS = 10_000;
/** And how many at most: more than a node can pull in that time. */
const COMMITTED_MAX = 4096;
/** Where the system has no watch to give, what arrives is found this late; who asks for it does not wait. */
const RESCAN_MS = 1_000;

/** A folder of the ingests, watched for as long as what is in it may matter. */
interface Slot {
  readonly id: string;
  /** Resolves when a look that began after now has ended. One at a time, so that each is compared with the one before. */
  readonly look: () => Promise<void>;
  watcher: fs.FSWatcher | undefined;
  /** Which folder is watched: another one may have taken its name. */
  watched: string | undefined;
  entry: Entry | undefined;
  /** Nothing of it matters but its end: others receive it, or it was left behind and there is no watch to spare. */
  isIgnored: boolean;
  /** Whether its file was there before it was followed. */
  wasThere: boolean;
}

/** One file being received. A file made anew under the same id is another. */
interface Entry extends IngestSource {
  state: IngestState;
}

export function createIngests({ log }: IngestsDeps, { namespace, bootedAtMs }: IngestsOptions): Ingests {
  const news = createIngestNews();
  const slots = new Map<string, Slot>();
  const committed = createRecent<Entry>({ keptMs: COMMITTED_KEPT_MS, countMax: COMMITTED_MAX });
  const scan = createRounds(() => scanOnce().catch(warn));
  let root: string | undefined;
  let followed: FollowedFolder | undefined;
  let hasScanned = false;
  let rescanning: NodeJS.Timeout | undefined;
  let hasWarned = false;

  function setState(entry: Entry, state: IngestState, isCommitted = false): void {
    const wasLive = entry.state.isLive;
    entry.state = state;
    if (!wasLive && state.isLive) news.started(entry.digest, entry.sizeBytes);
    if (wasLive && !state.isLive) news.ended(entry.digest, isCommitted);
    wakeAll(entry);
  }

  function giveUp(slot: Slot): void {
    const { entry } = slot;
    slot.entry = undefined;
    if (entry !== undefined) setState(entry, { ...entry.state, isLive: false });
  }

  function addSlot(id: string): Slot | undefined {
    if (slots.size >= INGESTS_MAX) return undefined;
    const slot: Slot = {
      id,
      look: createRounds(async () => lookOrWarn(slot)),
      watcher: undefined,
      watched: undefined,
      entry: undefined,
      isIgnored: false,
      wasThere: false,
    };
    slots.set(id, slot);
    watchIfPossible(slot);
    return slot;
  }

  function watchIfPossible(slot: Slot): void {
    if (root === undefined || !hasWatchToSpare()) return;
    slot.watched = identifyFolder(path.join(ingestFolder(root), slot.id));
    slot.watcher = watchSlot(slot, root);
  }

  /** Its folder came, went, or did both: a watch stays with the folder that it was made for. */
  function renew(slot: Slot): Slot {
    const folder = root === undefined ? undefined : identifyFolder(path.join(ingestFolder(root), slot.id));
    if (slot.watcher === undefined || folder === undefined || folder === slot.watched) return slot;
    unwatch(slot);
    watchIfPossible(slot);
    return slot;
  }

  function slotOf(id: string): Slot | undefined {
    const slot = slots.get(id);
    return slot === undefined ? addSlot(id) : renew(slot);
  }

  function removeSlot(slot: Slot): void {
    slots.delete(slot.id);
    unwatch(slot);
    giveUp(slot);
  }

  /** What was left behind gives its watch up for what comes. */
  function hasWatchToSpare(): boolean {
    const watched = [...slots.values()].filter(({ watcher }) => watcher !== undefined);
    if (watched.length < WATCHED_INGESTS_MAX) return true;
    const leftover = watched.find(({ wasThere, entry }) => wasThere && !entry?.state.isLive);
    if (leftover !== undefined) ignore(leftover);
    return leftover !== undefined;
  }

  function watchSlot(slot: Slot, contentRoot: string): fs.FSWatcher | undefined {
    try {
      const watcher = fs.watch(path.join(ingestFolder(contentRoot), slot.id), { persistent: false });
      watcher.on('change', (type, name) => {
        // More of what is known to grow concerns those who wait for it, and nobody else.
        if (type === 'change' && name === 'data' && slot.entry?.state.isLive) wakeAll(slot.entry);
        else if (name === 'data' || name === 'updatedat' || name === slot.id) void slot.look();
      });
      watcher.on('error', () => void slot.look());
      return watcher;
    } catch {
      return undefined; // It is gone again, or the system has no watch to give.
    }
  }

  function lookOrWarn(slot: Slot): void {
    try {
      lookOnce(slot);
    } catch (error) {
      warn(error);
    }
  }

  function lookOnce(slot: Slot): void {
    const contentRoot = root;
    if (contentRoot === undefined) return;
    const folder = path.join(ingestFolder(contentRoot), slot.id);
    const seen = lookAtIngest(folder, namespace, slot.entry?.state.sighting);
    const sighting = typeof seen === 'object' ? seen : undefined;
    const { entry } = slot;
    if (entry !== undefined && sighting?.identity !== entry.state.sighting.identity) {
      finish(slot, entry, contentRoot);
    }
    if (slots.get(slot.id) !== slot) return;
    if (seen === 'gone') {
      removeSlot(slot);
      // What came in its place meanwhile was told of while the slot was still there, and is not told of again.
      if (identifyFolder(folder) !== undefined) void addSlot(slot.id)?.look();
    }
    if (seen === 'not-ours') ignore(slot); // It keeps its slot, or every scan would look again.
    if (sighting === undefined) return;
    const { wasThere } = slot;
    const state = nextIngestState(slot.entry?.state, sighting, { wasThere, bootedAtMs });
    slot.entry ??= createEntry(slot, { sighting, isLive: false });
    setState(slot.entry, state);
  }

  /** The file is not where it was: it was committed, by renaming, or it is gone. */
  function finish(slot: Slot, entry: Entry, contentRoot: string): void {
    const blob = statFile(path.join(blobFolder(contentRoot), digestHex(entry.digest)));
    slot.entry = undefined;
    slot.wasThere = false;
    const { sighting } = entry.state;
    const isCommitted = blob !== undefined && identify(blob) === sighting.identity;
    if (isCommitted) committed.keep(entry.digest, entry);
    setState(entry, { sighting, isLive: false }, isCommitted);
  }

  async function scanOnce(): Promise<void> {
    const contentRoot = root;
    if (contentRoot === undefined) return;
    const isFirst = !hasScanned;
    const present = new Set(await listIngests(contentRoot, INGESTS_MAX));
    const known = new Set(slots.keys());
    for (const id of present.union(known)) {
      const slot = slots.get(id) ?? addSlot(id);
      if (slot === undefined) continue;
      if (!known.has(id)) slot.wasThere = isFirst;
      const isUnclear = slot.entry === undefined && !slot.isIgnored;
      if (!isUnclear && !isBlindTo(slot) && present.has(id)) continue;
      await slot.look();
      if (isFirst) await breathe(); // What was left behind is read from the disk, and there may be thousands of it.
    }
    if (root === contentRoot) hasScanned = true;
  }

  function warn(error: unknown): void {
    if (!hasWarned) log.warn('Cannot read what containerd is receiving: it is shared once it is whole', { error });
    hasWarned = true;
  }

  async function follow(contentRoot: string): Promise<void> {
    if (root === contentRoot) {
      followed?.check();
      return;
    }
    stop();
    root = contentRoot;
    hasScanned = false;
    const watching = followFolder({ folder: ingestFolder(contentRoot), entry: INGEST_ID }, (id) => {
      if (id === undefined) void scan();
      else void slotOf(id)?.look();
    });
    followed = watching;
    rescanning = setInterval(() => {
      const isBlind = !watching.isWatching() || [...slots.values()].some(isBlindTo);
      if (isBlind) void scan();
    }, RESCAN_MS).unref();
    await scan();
  }

  function stop(): void {
    followed?.close();
    clearInterval(rescanning);
    for (const slot of slots.values()) removeSlot(slot);
    committed.clear();
    root = undefined;
  }

  /** What arrives, or has just arrived, and the name of its file. */
  function find(digest: Digest): { readonly entry: Entry; readonly file: string } | undefined {
    if (root === undefined) return undefined;
    for (const { id, entry } of slots.values()) {
      if (entry?.digest !== digest || !entry.state.isLive) continue;
      return { entry, file: path.join(ingestFolder(root), id, 'data') };
    }
    const entry = committed.get(digest);
    return entry && { entry, file: path.join(blobFolder(root), digestHex(digest)) };
  }

  async function openKnown(digest: Digest): Promise<OpenIngest | undefined> {
    const found = find(digest);
    return found && openIngest(found.entry, found.file, found.entry.state.sighting.identity);
  }

  /** It has just come, or has just been committed: what the watches tell is still on its way. */
  async function lookFor(digest: Digest): Promise<void> {
    await scan();
    for (const slot of slots.values()) if (slot.entry?.digest === digest) await slot.look();
  }

  return {
    follow,
    stop,
    doubt() {
      for (const slot of slots.values()) {
        giveUp(slot);
        slot.wasThere = true;
        void slot.look();
      }
    },
    async open(digest) {
      const known = await openKnown(digest);
      if (known !== undefined) return known;
      await lookFor(digest);
      return openKnown(digest);
    },
    async size(digest) {
      if (find(digest) === undefined) await lookFor(digest);
      return find(digest)?.entry.sizeBytes;
    },
    watch: (signal) => news.follow(signal),
  };
}

/** Whether changes of it that matter are not told. */
function isBlindTo({ isIgnored, watcher }: Slot): boolean {
  return !isIgnored && watcher === undefined;
}

function ignore(slot: Slot): void {
  slot.isIgnored = true;
  unwatch(slot);
}

function unwatch(slot: Slot): void {
  slot.watcher?.close();
  slot.watcher = undefined;
}

function createEntry(slot: Slot, state: IngestState): Entry {
  const { digest, sizeBytes } = state.sighting;
  const entry: Entry = {
    digest,
    sizeBytes,
    state,
    listeners: new Set(),
    isLive: () => entry.state.isLive,
    isWatched: () => slot.watcher !== undefined,
  };
  return entry;
}
