import { fixSettings } from './fixes.ts';
import { localPullReasons } from './image-settings.ts';
import type { Case } from './judge-containerd.ts';
import { findPassedOver } from './passed-over.ts';
import type { EvidenceItem, Reason } from './verdict.ts';

/** Snapshotters that mount layers from the registry, so that containerd's content store never holds them. */
const REMOTE_SNAPSHOTTERS: ReadonlySet<string> = new Set(['stargz', 'nydus', 'overlaybd', 'soci', 'cvmfs-snapshotter']);

/** Whether what was pulled stays where others can pull it from. */
export function judgeLayers(one: Case): readonly Reason[] {
  return [...judgeDiscard(one), ...judgeSnapshotter(one)];
}

function judgeDiscard(one: Case): readonly Reason[] {
  const { evidence, configured } = one;
  const { running, newestImage, config } = evidence;
  if (running.discardUnpackedLayers === true) {
    return discarded(one, { source: running.source, value: 'discard_unpacked_layers = true' });
  }
  if (running.discardUnpackedLayers === false) return gone(one);
  const setting = configured?.settings.discardUnpackedLayers;
  if (setting?.value === true) {
    return discarded(one, { source: 'file', ...setting.place, value: 'discard_unpacked_layers = true' });
  }
  if (newestImage === undefined) {
    if (setting !== undefined) return [];
    const sentence = 'nothing tells whether containerd keeps layers: no image was pulled yet';
    return [{ code: 'layers-unproven', weighs: 'unknown', sentence, evidence: [], fix: undefined }];
  }
  if (newestImage.hasLayers) return [];
  if (setting !== undefined && newestImage.createdAtMs < config.changedAtMs) return gone(one);
  return discarded(one, { source: 'content', value: `${newestImage.manifest} has no layers` });
}

function discarded(one: Case, seen: EvidenceItem): readonly Reason[] {
  const { configured, context } = one;
  const setting = configured?.settings.discardUnpackedLayers;
  const items = [seen];
  if (seen.source !== 'file' && setting?.value === true && setting.place !== undefined) {
    items.push({ source: 'file', ...setting.place, value: 'discard_unpacked_layers = true' });
  }
  const isFixed = seen.source !== 'file' && setting?.value === false;
  const settings = { discard_unpacked_layers: false, ...(needsOneFolder(one) && { config_path: context.certsDir }) };
  const unread = findPassedOver(one, 'layers', settings);
  const reason: Reason = {
    code: 'layers-discarded',
    weighs: 'incompatible',
    sentence: 'containerd throws layers away once they are unpacked, so that no other node can pull them from here',
    evidence: items,
    fix: isFixed
      ? `restart containerd: its files say otherwise by now, and it reads them only at its start`
      : fixSettings(settings, context),
  };
  return unread === undefined ? [reason] : [{ ...unread, weighs: 'incompatible' }, reason];
}

/**
 * Whether config_path is a list that works only because layers are discarded, which makes containerd pull by itself: with
 * that mended alone, the transfer service would pull, and read no hosts.toml.
 */
function needsOneFolder({ configured, context }: Case): boolean {
  if (configured === undefined || context.version === undefined) return false;
  const { settings } = configured;
  const reasons = localPullReasons(settings, context.version);
  return settings.configPath.value.includes(':') && reasons.every((name) => name === 'discard_unpacked_layers');
}

/** Layers are kept by now; the image that was pulled last is from before. */
function gone({ evidence: { newestImage } }: Case): readonly Reason[] {
  if (newestImage === undefined || newestImage.hasLayers) return [];
  return [
    {
      code: 'layers-gone-before',
      weighs: 'note',
      sentence:
        'the image that was pulled last has no layers: it was unpacked while containerd threw them away, or came without',
      evidence: [{ source: 'content', value: `${newestImage.manifest} has no layers` }],
      fix: 'nothing to do for new images; pull it again, after removing it, to share it from here',
    },
  ];
}

function judgeSnapshotter({ evidence, configured }: Case): readonly Reason[] {
  const { running, newestImage } = evidence;
  const setting = configured?.settings.snapshotter;
  const name = running.snapshotter ?? setting?.value;
  if (name === undefined || !REMOTE_SNAPSHOTTERS.has(name)) return [];
  const keeps = newestImage?.hasLayers === true;
  const value = `snapshotter = "${name}"`;
  return [
    {
      code: 'remote-snapshotter',
      weighs: keeps ? 'note' : 'incompatible',
      sentence: keeps
        ? `the snapshotter ${name} can mount layers from the registry: those are never on this node for others to pull`
        : `the snapshotter ${name} mounts layers from the registry, so that containerd's content store never holds them for others to pull`,
      evidence: [
        setting?.place === undefined ? { source: running.source, value } : { source: 'file', ...setting.place, value },
      ],
      fix: 'use the overlayfs snapshotter on nodes that share images, or have its nodes do without the mirror',
    },
  ];
}
