import fs from 'node:fs';
import path from 'node:path';
import { identifyFolder } from './ingest-files.ts';

export interface FollowedFolder {
  /** Whether changes are seen as they happen; false when the system has no watch to give (inotify's limits). */
  readonly isWatching: () => boolean;
  /** Makes sure that it is this folder that is watched: when one above it is moved away, the watch moves along unasked. */
  readonly check: () => void;
  readonly close: () => void;
}

export interface FollowFolderOptions {
  readonly folder: string;
  /** What the names of the folder's own entries look like; any other name means the folder itself was moved or removed. */
  readonly entry: RegExp;
}

/**
 * Calls `onChange` with the name of each entry of the folder that comes, goes or changes, and with undefined when
 * anything may have changed. The folder may not be there yet, may be deleted, and may come back: until then its nearest
 * ancestor is watched. A watch costs the same for one entry and for a million.
 */
export function followFolder(
  { folder, entry }: FollowFolderOptions,
  onChange: (name: string | undefined) => void,
): FollowedFolder {
  let watcher: fs.FSWatcher | undefined;
  let watched: string | undefined;
  let isClosed = false;

  function attach(): void {
    watcher?.close();
    watcher = undefined;
    watched = identifyFolder(folder);
    for (let target = folder; !isClosed && watcher === undefined; target = path.dirname(target)) {
      watcher = target === folder ? watchEntries() : watchAncestor(target);
      if (target === path.dirname(target)) break;
    }
  }

  function watchEntries(): fs.FSWatcher | undefined {
    const found = tryWatch(folder, (name) => {
      const isEntry = name !== null && entry.test(name);
      if (isEntry) onChange(name);
      else attach();
    });
    if (found !== undefined) onChange(undefined);
    return found;
  }

  function watchAncestor(ancestor: string): fs.FSWatcher | undefined {
    const child = path.join(ancestor, path.relative(ancestor, folder).split(path.sep)[0] as string);
    const found = tryWatch(ancestor, (name) => {
      if (name === path.basename(child) || !fs.existsSync(ancestor)) attach();
    });
    if (found === undefined || !fs.existsSync(child)) return found;
    found.close(); // It came while its parent's watch was set up.
    attach();
    return watcher;
  }

  function tryWatch(target: string, onEvent: (name: string | null) => void): fs.FSWatcher | undefined {
    try {
      const opened = fs.watch(target, { persistent: false });
      opened.on('change', (_type, name) => {
        if (opened === watcher) onEvent(name === null ? null : name.toString());
      });
      opened.on('error', () => {
        if (opened === watcher) attach();
      });
      return opened;
    } catch {
      return undefined;
    }
  }

  attach();
  return {
    isWatching: () => watcher !== undefined,
    check: () => {
      if (identifyFolder(folder) !== watched) attach();
    },
    close: () => {
      isClosed = true;
      watcher?.close();
    },
  };
}
