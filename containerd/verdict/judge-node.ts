import { type GatherDeps, type GatherOptions, gatherEvidence } from './gather-evidence.ts';
import { judgeContainerd } from './judge-containerd.ts';
import { readConfig } from './read-config.ts';
import type { Verdict } from './verdict.ts';

export interface JudgedNode {
  readonly verdict: Verdict;
  /** Files and folders that the verdict rests on. */
  readonly watched: readonly string[];
  /** containerd's configuration file, and what `stampOf` says of it as long as nothing in it changes. */
  readonly configFile: string;
  readonly stamp: string;
}

/** Judges this node's containerd as it is now. Throws ERR_ABORTED, and nothing else but faults. */
export async function judgeNode(deps: GatherDeps, options: GatherOptions, signal: AbortSignal): Promise<JudgedNode> {
  const evidence = await gatherEvidence(deps, options, signal);
  const { config, configFile } = evidence;
  const stamp = await stampOf(configFile);
  return { verdict: judgeContainerd(evidence), watched: config.watched, configFile, stamp };
}

/** Changes when the configuration does: the names of its files, and when each was written. */
export async function stampOf(configFile: string): Promise<string> {
  return (await readConfig(configFile, undefined)).stamp;
}
