import { type ConfigNode, type ConfigTable, nodeAt, type Place } from './config-tree.ts';
import { type ContainerdVersion, isAtLeast } from './containerd-version.ts';

/** A setting's value and who said it; without a place it is this version's default. */
export interface ImageSetting<T> {
  readonly value: T;
  readonly place: Place | undefined;
}

/** What decides whether a containerd's pulls reach a mirror, and whether what they bring stays. */
export interface ImageSettings {
  readonly configPath: ImageSetting<string>;
  /** How many registries have `mirrors`, `configs`, `configs` with TLS, and `auths`: what was there before config_path. */
  readonly mirrors: ImageSetting<number>;
  readonly configs: ImageSetting<number>;
  readonly tlsConfigs: ImageSetting<number>;
  readonly auths: ImageSetting<number>;
  readonly discardUnpackedLayers: ImageSetting<boolean>;
  readonly snapshotter: ImageSetting<string>;
  readonly disableSnapshotAnnotations: ImageSetting<boolean>;
  readonly maxConcurrentDownloads: ImageSetting<number>;
  readonly imagePullWithSyncFs: ImageSetting<boolean>;
  readonly useLocalImagePull: ImageSetting<boolean>;
  /** Values of another type than containerd takes: it does not load the plugin then. */
  readonly mistyped: readonly (Place & { readonly key: string })[];
}

/** Since 2.2, unless a mirror is set in the old way; a list, which the transfer service cannot read. */
const CONFIG_PATH_SINCE_2_2 = '/etc/containerd/certs.d:/etc/docker/certs.d';
const MAX_CONCURRENT_DOWNLOADS = 3;

/** Reads the settings out of what a containerd's CRI plugin is given; the defaults are those of `version`. */
export function readImageSettings(cri: ConfigTable | undefined, version: ContainerdVersion): ImageSettings {
  const mistyped: (Place & { key: string })[] = [];
  const inner = version.major < 2 ? ['containerd'] : [];

  function read<T>(keys: readonly string[], fallback: T, is: (value: unknown) => value is T): ImageSetting<T> {
    const node = nodeAt(cri, ...keys);
    if (node === undefined) return { value: fallback, place: undefined };
    if (node.kind === 'value' && is(node.value)) return { value: node.value, place: node.place };
    mistyped.push({ ...node.place, key: keys.join('.') });
    return { value: fallback, place: node.place };
  }

  function count(key: string, counts: (node: ConfigNode) => boolean = () => true): ImageSetting<number> {
    const node = nodeAt(cri, 'registry', key);
    if (node?.kind !== 'table') return { value: 0, place: undefined };
    const counted = [...node.entries.values()].filter(counts);
    return { value: counted.length, place: counted[0]?.place ?? node.place };
  }

  const mirrors = count('mirrors');
  const configPath = read(['registry', 'config_path'], '', isString);
  // 2.2.0 and 2.2.1 have the default beside mirrors too, and do not load their CRI plugin then.
  const isEager = version.major === 2 && version.minor === 2 && version.patch < 2;
  const isDefaulted = isAtLeast(version, 2, 2) && configPath.value === '' && (mirrors.value === 0 || isEager);
  return {
    configPath: isDefaulted ? { value: CONFIG_PATH_SINCE_2_2, place: configPath.place } : configPath,
    mirrors,
    configs: count('configs'),
    tlsConfigs: count('configs', (node) => node.kind === 'table' && node.entries.has('tls')),
    auths: count('auths'),
    discardUnpackedLayers: read([...inner, 'discard_unpacked_layers'], false, isBoolean),
    snapshotter: read([...inner, 'snapshotter'], 'overlayfs', isString),
    disableSnapshotAnnotations: read([...inner, 'disable_snapshot_annotations'], true, isBoolean),
    maxConcurrentDownloads: read(['max_concurrent_downloads'], MAX_CONCURRENT_DOWNLOADS, isNumber),
    imagePullWithSyncFs: read(['image_pull_with_sync_fs'], false, isBoolean),
    useLocalImagePull: read(['use_local_image_pull'], false, isBoolean),
    mistyped,
  };
}

/**
 * What makes a containerd pull by itself rather than through its transfer service, by the settings' names; `always` before
 * 2.1, which has no other way. Empty when the transfer service pulls (CheckLocalImagePullConfigs in internal/cri/config).
 */
export function localPullReasons(settings: ImageSettings, version: ContainerdVersion): readonly string[] {
  if (!isAtLeast(version, 2, 1)) return ['always'];
  const reasons: Readonly<Record<string, boolean>> = {
    use_local_image_pull: settings.useLocalImagePull.value,
    disable_snapshot_annotations: !settings.disableSnapshotAnnotations.value,
    discard_unpacked_layers: settings.discardUnpackedLayers.value,
    'registry.mirrors': settings.mirrors.value > 0,
    'registry.configs': settings.configs.value > 0,
    'registry.auths': settings.auths.value > 0,
    max_concurrent_downloads: settings.maxConcurrentDownloads.value !== MAX_CONCURRENT_DOWNLOADS,
    image_pull_with_sync_fs: settings.imagePullWithSyncFs.value,
  };
  return Object.keys(reasons).filter((name) => reasons[name]);
}

const isString = (value: unknown): value is string => typeof value === 'string';
const isBoolean = (value: unknown): value is boolean => typeof value === 'boolean';
const isNumber = (value: unknown): value is number => typeof value === 'number' || typeof value === 'bigint';
