import {
  type ConfigFile,
  type ConfigNode,
  type ConfigTable,
  mergeDeep,
  nodeAt,
  type Place,
  tableAt,
  treeOf,
  withEntries,
} from './config-tree.ts';
import { type ContainerdVersion, isAtLeast } from './containerd-version.ts';

/** What a containerd makes of its configuration files. */
export interface MergedConfig {
  /** What its CRI plugin (1.x), or the images part of it (2.x), is given; undefined for defaults alone. */
  readonly cri: ConfigTable | undefined;
  /** Settings about images in sections that this containerd passes over. */
  readonly passedOver: readonly PassedOver[];
  /** Why a containerd of this version does not start with these files. */
  readonly refused: (Place & { readonly why: string }) | undefined;
}

export interface PassedOver extends Place {
  readonly section: string;
  readonly about: 'path' | 'layers';
  readonly node: ConfigNode;
  readonly keys: readonly string[];
  /** The section of a later file that took the place of the whole one (1.x); undefined when nobody reads the section. */
  readonly replacedBy: Place | undefined;
}

const CRI = 'io.containerd.grpc.v1.cri';
const CRI_IMAGES = 'io.containerd.cri.v1.images';

/**
 * Merges the files of a configuration, in the order in which containerd loads them, as containerd of this version does:
 * 1.x replaces each plugin's whole section by that of a later file, 2.x merges them key by key, and moves the sections of
 * older versions to their new names (cmd/containerd/server/config and plugins/cri/images of each release).
 */
export function mergeConfig(files: readonly ConfigFile[], version: ContainerdVersion): MergedConfig {
  if (version.major < 2) return mergeForOne(files, version);
  return isAtLeast(version, 2, 3) ? mergeAndMigrateEach(files, version) : mergeAndMigrateOnce(files);
}

interface Loaded {
  plugins: ConfigTable | undefined;
  /** 0 when no file says it. */
  version: number;
}

function mergeForOne(files: readonly ConfigFile[], containerd: ContainerdVersion): MergedConfig {
  const merged: Loaded = { plugins: undefined, version: 0 };
  const replaced: PassedOver[] = [];
  let saidBy: Place | undefined;
  for (const file of files) {
    const version = versionOf(file);
    if (version !== 0) saidBy = placeOfVersion(file);
    merged.version = version || merged.version;
    const plugins = pluginsOf(file);
    if (plugins === undefined) continue;
    for (const name of ['cri', CRI]) replaced.push(...replacedIn(merged.plugins, plugins, name));
    merged.plugins = merged.plugins === undefined ? plugins : withEntries(merged.plugins, plugins.entries);
  }
  const name = merged.version < 2 ? 'cri' : CRI;
  const others = merged.version < 2 ? [CRI, CRI_IMAGES] : ['cri', CRI_IMAGES];
  return {
    cri: tableAt(merged.plugins, name),
    passedOver: [
      ...replaced.filter(({ section }) => section === name),
      ...others.flatMap((other) => passedOver(merged.plugins, other)),
    ],
    refused: refusedByOne(merged, saidBy, containerd),
  };
}

/** What the section said so far and the later one, which takes its whole place, does not. */
function replacedIn(before: ConfigTable | undefined, after: ConfigTable, name: string): readonly PassedOver[] {
  const later = tableAt(after, name);
  if (later === undefined) return [];
  return passedOver(before, name)
    .filter(({ keys }) => nodeAt(later, ...keys) === undefined)
    .map((found) => ({ ...found, replacedBy: later.place }));
}

function refusedByOne(
  { plugins, version }: Loaded,
  saidBy: Place | undefined,
  containerd: ContainerdVersion,
): MergedConfig['refused'] {
  if (version < 2) return undefined;
  if (version > 2 && isAtLeast(containerd, 1, 7) && saidBy !== undefined) {
    return {
      ...saidBy,
      why: `containerd ${containerd.major}.${containerd.minor} reads configurations up to version 2`,
    };
  }
  for (const [name, { place }] of plugins?.entries ?? []) {
    if (name.split('.').length < 4) return { ...place, why: `version 2 has full plugin names, unlike "${name}"` };
  }
  return undefined;
}

/** 2.0 to 2.2: the merged configuration is moved to version 3, if the last version that a file says is lower. */
function mergeAndMigrateOnce(files: readonly ConfigFile[]): MergedConfig {
  const merged: Loaded = { plugins: undefined, version: 3 };
  let saidBy: Place | undefined;
  for (const file of files) {
    const said = versionOf(file);
    const isOld = said < 2;
    if (!isOld) saidBy = placeOfVersion(file);
    else if (merged.version > 3) break; // containerd falls over this one.
    add(merged, isOld && merged.version > 1 ? withFullNames(pluginsOf(file)) : pluginsOf(file));
    // A file without a version takes on the version so far: with the default, 3, its old sections are never moved.
    merged.version = isOld ? merged.version : said;
  }
  const plugins = merged.version < 3 ? migrate(merged.plugins) : merged.plugins;
  const refused =
    merged.version > 3 && saidBy !== undefined
      ? { ...saidBy, why: 'this containerd reads configurations up to version 3' }
      : undefined;
  return { cri: tableAt(plugins, CRI_IMAGES), passedOver: notMigrated(merged.plugins, plugins), refused };
}

/** Since 2.3: each file is moved to version 4 by itself, before it is merged. */
function mergeAndMigrateEach(files: readonly ConfigFile[], containerd: ContainerdVersion): MergedConfig {
  const merged: Loaded = { plugins: undefined, version: 4 };
  let refused: MergedConfig['refused'];
  const lost: PassedOver[] = [];
  let rootVersion = 0;
  for (const file of files) {
    const version = versionOf(file);
    rootVersion ||= version;
    if (version > 4)
      refused ??= { ...placeOfVersion(file), why: 'this containerd reads configurations up to version 4' };
    if (version > rootVersion && containerd.major === 2 && containerd.minor === 3) {
      refused ??= {
        ...placeOfVersion(file),
        why: `an import of version ${version} in a configuration of version ${rootVersion}`,
      };
    }
    const named = version < 2 ? withFullNames(pluginsOf(file)) : pluginsOf(file);
    const plugins = version < 4 ? migrate(named) : named;
    lost.push(...notMigrated(named, plugins));
    add(merged, plugins);
  }
  return { cri: tableAt(merged.plugins, CRI_IMAGES), passedOver: lost, refused };
}

function add(merged: Loaded, plugins: ConfigTable | undefined): void {
  if (plugins === undefined) return;
  const both = mergeDeep(merged.plugins, plugins);
  merged.plugins = both.kind === 'table' ? both : merged.plugins;
}

/** The settings that containerd 2 takes over from the old section, by the folder in which it finds them. */
const MIGRATED = ['registry', 'max_concurrent_downloads', 'image_pull_with_sync_fs'];
const MIGRATED_WITH_RUNTIMES = ['snapshotter', 'disable_snapshot_annotations', 'discard_unpacked_layers'];

/** Moves the old CRI section to its new name, with containerd's quirk: some settings move only when a runtime is there too. */
function migrate(plugins: ConfigTable | undefined): ConfigTable | undefined {
  const old = tableAt(plugins, CRI);
  if (plugins === undefined || old === undefined) return plugins;
  const moved = new Map<string, ConfigNode>();
  for (const key of MIGRATED) copy(old, key, moved);
  const inner = tableAt(old, 'containerd');
  if (inner?.entries.has('runtimes')) for (const key of MIGRATED_WITH_RUNTIMES) copy(inner, key, moved);
  const present = tableAt(plugins, CRI_IMAGES) ?? { ...old, entries: new Map() };
  return withEntries(plugins, [[CRI_IMAGES, withEntries(present, moved)]]);
}

function copy(from: ConfigTable, key: string, to: Map<string, ConfigNode>): void {
  const node = from.entries.get(key);
  if (node !== undefined) to.set(key, node);
}

/** What the old section, or one under a name that nobody reads, says and nobody hears after the move. */
function notMigrated(before: ConfigTable | undefined, after: ConfigTable | undefined): readonly PassedOver[] {
  const moved = tableAt(after, CRI_IMAGES);
  return [
    ...passedOver(before, 'cri'),
    ...passedOver(before, CRI).filter(({ node, keys }) => nodeAt(moved, keys.at(-1) as string) !== node),
  ];
}

const ABOUT_IMAGES = [['registry'], ['containerd', 'discard_unpacked_layers'], ['discard_unpacked_layers']] as const;

function passedOver(plugins: ConfigTable | undefined, section: string): readonly PassedOver[] {
  const table = tableAt(plugins, section);
  return ABOUT_IMAGES.flatMap((keys) => {
    const node = nodeAt(table, ...keys);
    if (node === undefined) return [];
    return [
      {
        ...node.place,
        section,
        replacedBy: undefined,
        about: keys[0] === 'registry' ? ('path' as const) : ('layers' as const),
        node,
        keys,
      },
    ];
  });
}

/** Version 1 names plugins by their last part. Only this one matters here. */
function withFullNames(plugins: ConfigTable | undefined): ConfigTable | undefined {
  const cri = plugins?.entries.get('cri');
  if (plugins === undefined || cri === undefined) return plugins;
  const entries = new Map(plugins.entries);
  entries.delete('cri');
  entries.set(CRI, cri);
  return { ...plugins, entries };
}

function pluginsOf(file: ConfigFile): ConfigTable | undefined {
  const node = treeOf(file, ['plugins']);
  return node?.kind === 'table' ? node : undefined;
}

function versionOf({ table }: ConfigFile): number {
  const version = table['version'];
  return typeof version === 'number' && Number.isInteger(version) && version > 0 ? version : 0;
}

function placeOfVersion(file: ConfigFile): Place {
  return { file: file.path, line: file.lineOf(['version']) ?? 1 };
}
