import { parseContainerdVersion } from './containerd-version.ts';
import type { NodeEvidence } from './evidence.ts';
import type { FixContext } from './fixes.ts';
import { type ImageSettings, readImageSettings } from './image-settings.ts';
import { judgeLayers } from './judge-layers.ts';
import { judgePath } from './judge-path.ts';
import { type MergedConfig, mergeConfig } from './merge-config.ts';
import type { Reason, Verdict, VerdictResult } from './verdict.ts';

/** What is judged: the evidence, and what this containerd makes of its configuration where that is known. */
export interface Case {
  readonly evidence: NodeEvidence;
  readonly context: FixContext;
  /** Undefined when the files or the version could not be read: then only what the running containerd does counts. */
  readonly configured: { readonly merged: MergedConfig; readonly settings: ImageSettings } | undefined;
}

/** Decides, from what is known of a node, whether its containerd can take part, why, and what to do. Pure. */
export function judgeContainerd(evidence: NodeEvidence): Verdict {
  const reasons = evidence.version === undefined ? [unreachable(evidence)] : judgeReachable(evidence, evidence.version);
  const ordered = [...WEIGHTS].flatMap((weight) => reasons.filter(({ weighs }) => weighs === weight));
  return {
    result: resultOf(ordered),
    containerd: evidence.version,
    distribution: evidence.distribution === 'unknown' ? undefined : evidence.distribution,
    reasons: ordered,
  };
}

/** What is said when judging itself went wrong: a bug must not look like a node that cannot take part. */
export function verdictOfFault(error: unknown): Verdict {
  const sentence = `a bug in miroir kept it from judging: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
  const reason: Reason = { code: 'fault', weighs: 'unknown', sentence, evidence: [], fix: undefined };
  return { result: 'unknown', containerd: undefined, distribution: undefined, reasons: [reason] };
}

const WEIGHTS = ['incompatible', 'unknown', 'note'] as const;

function resultOf(reasons: readonly Reason[]): VerdictResult {
  const heaviest = reasons[0]?.weighs ?? 'note';
  return heaviest === 'note' ? 'compatible' : heaviest;
}

function unreachable({ unreachable: why, otherSockets }: NodeEvidence): Reason {
  const there = otherSockets.length === 0 ? '' : `: there is ${otherSockets.join(' and ')}`;
  return {
    code: 'containerd-unreachable',
    weighs: 'unknown',
    sentence: `containerd does not answer${why === undefined ? '' : `: ${why}`}`,
    evidence: [],
    fix: `start containerd, and run as root; or name its socket with --containerd-socket${there}`,
  };
}

function judgeReachable(evidence: NodeEvidence, versionText: string): readonly Reason[] {
  const version = parseContainerdVersion(versionText);
  const { distribution, certsDir, configFile, config } = evidence;
  const context = { distribution, version, certsDir, configFile };
  const configured =
    version === undefined || config.problem !== undefined ? undefined : readConfigured(evidence, version);
  const one: Case = { evidence, context, configured };
  const judged = [...judgePath(one), ...judgeLayers(one)];
  // What could not be read matters only where nothing else told.
  const weighs = judged.some((reason) => reason.weighs === 'unknown') ? 'unknown' : 'note';
  return [...judged, ...unreadable(one, versionText, weighs), ...refused(one)];
}

function readConfigured({ config }: NodeEvidence, version: NonNullable<FixContext['version']>) {
  const merged = mergeConfig(config.files, version);
  return { merged, settings: readImageSettings(merged.cri, version) };
}

function unreadable({ evidence, context }: Case, version: string, weighs: 'unknown' | 'note'): readonly Reason[] {
  const { problem } = evidence.config;
  if (context.version === undefined) {
    const sentence = `containerd says that it is version ${JSON.stringify(version)}, which tells nothing of its defaults`;
    return [{ code: 'version-unknown', weighs, sentence, evidence: [], fix: undefined }];
  }
  if (problem === undefined) return [];
  const { file, line, what } = problem;
  return [
    {
      code: problem.kind === 'invalid' ? 'config-invalid' : 'config-unreadable',
      // What is not there may be elsewhere, or all defaults; what cannot be read will not be read by containerd either.
      weighs: problem.kind === 'absent' ? weighs : 'unknown',
      sentence: `containerd's configuration ${file} ${what}`,
      evidence: [{ source: 'file', file, ...(line !== undefined && { line }) }],
      fix:
        problem.kind === 'invalid'
          ? `mend ${file}: containerd does not start with it`
          : 'name the file that containerd is started with, with --config-path; run as root, with its folder at the path it has on the node',
    },
  ];
}

function refused({ evidence, configured }: Case): readonly Reason[] {
  const found = configured?.merged.refused;
  const mistyped = configured?.settings.mistyped[0];
  if (found === undefined && mistyped === undefined) return [];
  const { file, line } = (found ?? mistyped) as { file: string; line: number };
  const why = found?.why ?? `${mistyped?.key} has a value of another type than containerd takes`;
  return [
    {
      code: 'config-refused',
      weighs: evidence.probe.kind === 'reached' ? 'note' : 'unknown',
      sentence: `containerd does not start, or runs without images, once it reads ${file} again: ${why}`,
      evidence: [{ source: 'file', file, line }],
      fix: `mend ${file}, then restart containerd`,
    },
  ];
}
