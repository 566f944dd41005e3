import path from 'node:path';
import { MiroirError } from '../common/errors.ts';
import { formatHostPort, type HostPort } from '../common/host-port.ts';
import type { Registry } from '../common/oci/reference.ts';
import {
  applyChanges,
  type CertsChange,
  type PlannedChange,
  planRemoval,
  stripHosts,
  withCertsDir,
} from './certs-change.ts';
import {
  type CertsFolder,
  countMissing,
  DEFAULT_FOLDER,
  findFolder,
  folderNames,
  listCertsDir,
  readFolders,
} from './certs-d.ts';
import type { BlockMarks, TagsMode } from './hosts-block.ts';
import { defaultUpstream, mergeHosts } from './hosts-merge.ts';
import { type HostSettings, type HostsFile, NO_HOSTS, parseHostsToml } from './hosts-toml.ts';

export interface ConfiguredRegistry {
  readonly name: Registry;
  /** The URL where it is really reached, when that is not what containerd would make of its name. */
  readonly upstream?: string;
}

export interface ConfigureOptions {
  readonly certsDir: string;
  /**
   * Undefined for every registry: then `_default` sends those without a folder of their own to the mirror, which gives
   * them one when it first sees them, and the folders that are there already are all merged.
   */
  readonly registries: readonly ConfiguredRegistry[] | undefined;
  readonly mirrorAddress: HostPort;
  readonly tags: TagsMode;
}

export interface ConfigureRegistryOptions {
  readonly certsDir: string;
  readonly registry: ConfiguredRegistry;
}

/** Registries are first seen by the names that people pull, so there is an end to the folders made for them. */
const FOLDERS_MAX = 256;

/**
 * Makes containerd ask the mirror: merges it into the hosts.toml of each registry, and takes it out of those that are no
 * longer to be mirrored. Done twice it changes nothing more. Throws ERR_HOSTS_FILE_INVALID, naming file and line, for any
 * hosts.toml that cannot be read, before anything is written; and ERR_CERTS_DIR_INACCESSIBLE.
 */
export async function configure(options: ConfigureOptions): Promise<readonly CertsChange[]> {
  const { certsDir, registries } = options;
  return withCertsDir(certsDir, async () => {
    const certs = await inspect(certsDir, await listCertsDir(certsDir));
    const targets =
      registries === undefined
        ? everyTarget(certs)
        : registries.map((registry) => ({ registry, folder: findFolder(certs.folders, registry.name) }));
    const mirror = formatHostPort(options.mirrorAddress);
    const changes = new Map<string, PlannedChange>();
    for (const target of targets) {
      const change = planMerge(certs, target, { tags: options.tags, mirror }, isShared(certs, target));
      if (!changes.has(change.realPath)) changes.set(change.realPath, change);
    }
    for (const folder of certs.folders.values()) {
      const removal = planRemoval(folder);
      if (removal !== undefined && !changes.has(removal.realPath)) changes.set(removal.realPath, removal);
    }
    return applyChanges([...changes.values()]);
  });
}

/**
 * Gives a registry that was seen for the first time a file of its own, so that its tags come from the registry itself.
 * Only where `configure` has said so in `_default`, and up to a limit: undefined when there was nothing to do.
 */
export async function configureRegistry(options: ConfigureRegistryOptions): Promise<CertsChange | undefined> {
  const { certsDir, registry } = options;
  return withCertsDir(certsDir, async () => {
    const names = await listCertsDir(certsDir);
    if (names.length >= FOLDERS_MAX) return undefined;
    const certs = await inspect(certsDir, [DEFAULT_FOLDER, ...folderNames(registry.name)]);
    const fallback = certs.folders.get(DEFAULT_FOLDER);
    const marks = fallback && certs.marks.get(fallback);
    if (marks?.tags !== 'fresh' || findFolder(certs.folders, registry.name) !== undefined) return undefined;
    const [change] = await applyChanges([planMerge(certs, { registry, folder: undefined }, marks, false)]);
    return change;
  });
}

/** certs.d, or some of its folders, as it is, each file read and found good. */
interface Certs {
  readonly certsDir: string;
  readonly folders: ReadonlyMap<string, CertsFolder>;
  /** Each file's text without us. */
  readonly bases: ReadonlyMap<CertsFolder, string>;
  readonly marks: ReadonlyMap<CertsFolder, BlockMarks>;
  /** How many folders, from certs.d upwards, we made or are about to. */
  readonly outerFoldersMade: number;
}

/** What gets the mirror: a registry, or `_default` when there is none. */
interface Target {
  readonly registry: ConfiguredRegistry | undefined;
  /** Undefined when it is not there yet. */
  readonly folder: CertsFolder | undefined;
}

async function inspect(certsDir: string, names: readonly string[]): Promise<Certs> {
  const folders = await readFolders(certsDir, names);
  const bases = new Map<CertsFolder, string>();
  const marks = new Map<CertsFolder, BlockMarks>();
  for (const folder of folders.values()) {
    const stripped = stripHosts(folder);
    const base = decode(stripped.base, folder);
    parseHostsToml(base, hostsPath(folder));
    bases.set(folder, base);
    if (stripped.marks !== undefined) marks.set(folder, stripped.marks);
  }
  const known = [...marks.values()].map(({ foldersMade }) => foldersMade - 1);
  return { certsDir, folders, bases, marks, outerFoldersMade: Math.max(await countMissing(certsDir), 0, ...known) };
}

function decode(binary: string, folder: CertsFolder): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(binary, 'latin1'));
  } catch (cause) {
    throw new MiroirError('ERR_HOSTS_FILE_INVALID', `${hostsPath(folder)}:1 is not UTF-8 text`, { cause });
  }
}

function everyTarget({ folders }: Certs): readonly Target[] {
  const own = [...folders.values()].flatMap((folder): Target[] =>
    folder.registry === undefined ? [] : [{ registry: { name: folder.registry }, folder }],
  );
  return [{ registry: undefined, folder: folders.get(DEFAULT_FOLDER) }, ...own];
}

/** Whether folders that are links share one file: then it cannot name the one registry's upstream. */
function isShared({ folders }: Certs, { folder }: Target): boolean {
  const sharing = [...folders.values()].filter(({ realHostsPath }) => realHostsPath === folder?.realHostsPath);
  return sharing.length > 1;
}

function planMerge(
  certs: Certs,
  { registry, folder }: Target,
  { tags, mirror }: Pick<BlockMarks, 'tags' | 'mirror'>,
  isSharedFile: boolean,
): PlannedChange {
  const name = registry?.name ?? DEFAULT_FOLDER;
  const file = folder === undefined ? path.join(certs.certsDir, name, 'hosts.toml') : hostsPath(folder);
  const base = folder === undefined ? '' : (certs.bases.get(folder) ?? '');
  const known = folder && certs.marks.get(folder);
  const isFolderMade = folder === undefined || (known !== undefined && known.foldersMade > 0);
  const marks = {
    tags,
    mirror,
    isFileMade: folder?.hosts === undefined || (known?.isFileMade ?? false),
    foldersMade: isFolderMade ? 1 + certs.outerFoldersMade : 0,
  };
  const isDefault = registry === undefined || (isSharedFile && sharesDefault(certs, folder));
  const upstream = registry?.upstream ?? (registry && !isSharedFile ? defaultUpstream(registry.name) : undefined);
  const text = mergeHosts(
    base,
    {
      marks,
      upstream,
      isUpstreamNamed: registry?.upstream !== undefined,
      isDefault,
      inherited: inherit(certs, folder, base, isFolderMade && !isDefault),
    },
    file,
  );
  const bytes = Buffer.from(text);
  return {
    registry: name,
    file,
    action: folder?.hosts === undefined ? 'created' : folder.hosts.bytes.equals(bytes) ? 'unchanged' : 'merged',
    realPath: folder?.realHostsPath ?? file,
    before: folder?.hosts,
    bytes,
    folders: [],
  };
}

function sharesDefault({ folders }: Certs, folder: CertsFolder | undefined): boolean {
  return folders.get(DEFAULT_FOLDER)?.realHostsPath === folder?.realHostsPath;
}

/** What containerd used for the registry until now: its certificate files, or `_default` when it had no folder. */
function inherit(certs: Certs, folder: CertsFolder | undefined, base: string, isFolderOurs: boolean): HostsFile {
  if (folder !== undefined && base !== '') return NO_HOSTS;
  const certificates = folder?.certificates ?? {};
  const fallback = certs.folders.get(DEFAULT_FOLDER);
  const usesFallback = isFolderOurs && fallback !== undefined && Object.keys(certificates).length === 0;
  if (!usesFallback) return { ...NO_HOSTS, root: certificates };
  const fallbackBase = certs.bases.get(fallback) ?? '';
  const { server, root, hosts } =
    fallbackBase === ''
      ? { ...NO_HOSTS, root: fallback.certificates }
      : parseHostsToml(fallbackBase, hostsPath(fallback));
  return {
    server,
    root: fromFallback(root),
    hosts: new Map([...hosts].map(([url, settings]) => [url, fromFallback(settings)])),
  };
}

/** Paths in a hosts.toml are relative to its folder. */
function fromFallback({ ca, client, ...settings }: HostSettings): HostSettings {
  const move = (file: string) => (path.isAbsolute(file) ? file : path.join('..', DEFAULT_FOLDER, file));
  const moveAll = (files: string | readonly string[]) => (typeof files === 'string' ? move(files) : files.map(move));
  return {
    ...settings,
    ...(ca !== undefined && { ca: moveAll(ca) }),
    ...(client !== undefined && { client: typeof client === 'string' ? move(client) : client.map(moveAll) }),
  };
}

function hostsPath(folder: CertsFolder): string {
  return path.join(folder.path, 'hosts.toml');
}
