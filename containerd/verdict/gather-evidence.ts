import { MiroirError } from '../../common/errors.ts';
import { parseDigest } from '../../common/oci/digest.ts';
import type { ContainerdClient, ContainerdPlugin, DatedContent } from '../api/client.ts';
import type { CriClient } from '../api/cri.ts';
import { findConfigFile, findOtherSockets } from './config-file.ts';
import { parseContainerdVersion } from './containerd-version.ts';
import { detectDistribution } from './distribution.ts';
import type { NewestImage, NodeEvidence, ProbeOutcome, RunningSettings } from './evidence.ts';
import { probeHosts } from './probe.ts';
import { readConfig } from './read-config.ts';

export interface GatherDeps {
  readonly client: Pick<ContainerdClient, 'serverVersion' | 'plugins'> & {
    readonly content: Pick<ContainerdClient['content'], 'listLabelled' | 'info'>;
  };
  readonly cri: Pick<CriClient, 'pullImage' | 'runtimeVersion' | 'status'>;
}

export interface GatherOptions {
  readonly socket: string;
  readonly certsDir: string;
  /** Undefined: where the distribution whose socket it is keeps it. */
  readonly configFile: string | undefined;
  /** Whether containerd is made to pull, with a file put into certsDir for a moment. */
  readonly isProbed: boolean;
}

/** Gathers what a node's verdict rests on. Throws ERR_ABORTED, and nothing else but faults. */
export async function gatherEvidence(
  deps: GatherDeps,
  options: GatherOptions,
  signal: AbortSignal,
): Promise<NodeEvidence> {
  const { client, cri } = deps;
  const { certsDir, isProbed, socket } = options;
  const version = await told(client.serverVersion(signal));
  const parsed = version.value === undefined ? undefined : parseContainerdVersion(version.value);
  const configFile = options.configFile ?? (await findConfigFile(socket));
  const config = await readConfig(configFile, parsed);
  const isReachable = version.value !== undefined;
  const plugins = isReachable ? ((await told(client.plugins(signal))).value ?? []) : [];
  const status = isReachable ? (await told(cri.status({ verbose: true }, signal))).value : undefined;
  return {
    version: version.value,
    unreachable: version.failure,
    otherSockets: await findOtherSockets(socket),
    configFile,
    config,
    certsDir,
    distribution: detectDistribution({ socket, configFile, config }),
    running: runningFromPlugins(plugins) ?? runningFromStatus(status?.info['config']),
    failedPlugin: failedPlugin(plugins),
    probe: isReachable && isProbed ? await probe(deps, certsDir, signal) : { kind: 'not-run' },
    newestImage: isReachable ? (await told(findNewestImage(client.content, signal))).value : undefined,
  };
}

interface Told<T> {
  readonly value: T | undefined;
  readonly failure: string | undefined;
}

/** What containerd does not tell is not known; only being stopped is passed on. */
async function told<T>(answer: Promise<T>): Promise<Told<T>> {
  try {
    return { value: await answer, failure: undefined };
  } catch (error) {
    if (!(error instanceof MiroirError) || error.code === 'ERR_ABORTED') throw error;
    return { value: undefined, failure: error.message };
  }
}

async function probe({ cri }: GatherDeps, certsDir: string, signal: AbortSignal): Promise<ProbeOutcome> {
  const { value, failure } = await told(probeHosts({ cri }, { certsDir }, signal));
  return value ?? { kind: 'failed', why: failure ?? 'for no reason' };
}

/** The parts of containerd that kubelet's pulls need. */
const CRI_PLUGINS = ['io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images'];

function failedPlugin(plugins: readonly ContainerdPlugin[]): NodeEvidence['failedPlugin'] {
  // The images part comes first where both fail: the other one fails for want of it.
  const failed = CRI_PLUGINS.toReversed().map((name) => plugins.find((plugin) => plugin.name === name));
  const found = failed.find((plugin) => plugin?.failure !== undefined);
  return found?.failure === undefined ? undefined : { name: found.name, failure: found.failure };
}

function runningFromPlugins(plugins: readonly ContainerdPlugin[]): RunningSettings | undefined {
  const exports = plugins.find(({ name }) => name === 'io.containerd.cri.v1.images')?.exports;
  const configPath = exports?.['RegistryConfigPath'];
  const discard = exports?.['DiscardUnpackedLayers'];
  if (configPath === undefined && discard === undefined) return undefined;
  const discardUnpackedLayers = discard === undefined ? undefined : discard === 'true';
  return { source: 'introspection', configPath, discardUnpackedLayers, snapshotter: undefined };
}

/** 1.x tells its whole configuration, 2.x only the part about running containers. */
function runningFromStatus(text: string | undefined): RunningSettings {
  const config = parseJson(text);
  const configPath = fieldOf(fieldOf(config, 'registry'), 'configPath');
  const containerd = fieldOf(config, 'containerd');
  const discard = fieldOf(containerd, 'discardUnpackedLayers');
  const snapshotter = fieldOf(containerd, 'snapshotter');
  return {
    source: 'status',
    configPath: typeof configPath === 'string' ? configPath : undefined,
    discardUnpackedLayers: typeof discard === 'boolean' ? discard : undefined,
    snapshotter: typeof snapshotter === 'string' && snapshotter !== '' ? snapshotter : undefined,
  };
}

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? 'null');
  } catch {
    return undefined;
  }
}

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined;
}

/** On each manifest of an image that was pulled; those of its layers are there only when they are to stay. */
const CONFIG_LABEL = 'containerd.io/gc.ref.content.config';
const LAYER_LABEL = /^containerd\.io\/gc\.ref\.content\.l\.\d+$/;
/** Images have at most 127 layers, and the first ones tell. */
const LAYERS_LOOKED_AT = 4;

async function findNewestImage(
  content: GatherDeps['client']['content'],
  signal: AbortSignal,
): Promise<NewestImage | undefined> {
  let newest: DatedContent | undefined;
  for await (const manifest of content.listLabelled(CONFIG_LABEL, signal)) {
    if (newest === undefined || manifest.createdAtMs > newest.createdAtMs) newest = manifest;
  }
  if (newest === undefined) return undefined;
  const layers = Object.entries(newest.labels).filter(([name]) => LAYER_LABEL.test(name));
  let isWhole = layers.length > 0;
  for (const [, value] of layers.slice(0, LAYERS_LOOKED_AT)) {
    const digest = parseDigest(value);
    isWhole &&= digest !== undefined && (await content.info(digest, signal)) !== undefined;
  }
  return { manifest: newest.digest, createdAtMs: newest.createdAtMs, hasLayers: isWhole };
}
