import {
  type Decision,
  GATE_MODES,
  type GateApplied,
  type GateMode,
  type SidecarApplied,
  type SkipReason,
} from '../decision.ts';
import {
  ADMITTED_ANNOTATION,
  GATE_ANNOTATION,
  GATE_APPLIED_ANNOTATION,
  MIRROR_LABEL,
  SIDECAR_ANNOTATION,
  SIDECAR_APPLIED_ANNOTATION,
} from '../labels.ts';
import { gatePatch } from './gate-affinity.ts';
import { type AddOperation, add } from './json-patch.ts';
import type { Pod } from './pod.ts';
import { type SidecarOptions, sidecarFor, sidecarPatch, sidecarWarnings } from './sidecar.ts';

/** What decides about a pod besides the pod. */
export interface AdmissionContext {
  readonly namespace: NamespaceView;
  /** Ours. */
  readonly version: string;
  /** Of the namespace that Miroir runs in. */
  readonly ownNamespace: string | undefined;
  /** Undefined: what is asked for can be had. Otherwise why not, in words for the user. */
  readonly bypass: Readonly<Record<'block' | 'require' | 'wait', string | undefined>>;
  /** The agent for pods that ask for one; undefined: there is none to be had. */
  readonly sidecar: SidecarOptions | undefined;
}

export interface NamespaceView {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Mutation {
  readonly decision: Decision;
  readonly patch: readonly AddOperation[];
  /** Sentences for the user. */
  readonly warnings: readonly string[];
}

const DEFAULT_MODE: GateMode = 'block';
const SYSTEM_PRIORITY = 'system-';
const MIRROR_POD_ANNOTATION = 'kubernetes.io/config.mirror';
/** `totalAnnotationSizeLimitB` of the apiserver: keys and values of all annotations. */
const ANNOTATION_BYTES_MAX = 256 * 1024;
/** etcd takes no object over 1.5 MiB: what is added to a pod must not be what it fails by. */
const PATCH_BYTES_MAX = 32 * 1024;
/** Of a text that a user wrote, in a warning. */
const QUOTED_CHARS_MAX = 40;

/**
 * Decides about a new pod, and what to add to it. Applied to what came out of it, it adds nothing and decides the same:
 * the apiserver may ask again when another webhook has changed the pod.
 */
export function mutatePod(pod: Pod, context: AdmissionContext): Mutation {
  const reason = reasonToSkip(pod, context);
  if (reason !== undefined) return { decision: { outcome: 'skipped', reason }, patch: [], warnings: [] };
  const asked = askedMode(pod, context.namespace);
  const bypass = asked.mode === 'prefer' || asked.mode === 'off' ? undefined : context.bypass[asked.mode];
  const recorded = recordedGate(pod, asked.mode, context.version);
  const gate = recorded ?? (bypass === undefined ? asked.mode : 'bypassed');
  const wish = askedSidecar(pod, context.namespace);
  const sidecar = wish.isAsked ? sidecarFor(pod, context.sidecar) : undefined;
  const annotations = ourAnnotations(gate, context.version, sidecar);
  const patch = [
    ...annotationPatch(pod, annotations),
    ...gatePatch(pod, gate),
    ...(sidecar === undefined ? [] : sidecarPatch(pod, context.sidecar)),
  ];
  if (annotationBytes(pod, annotations) > ANNOTATION_BYTES_MAX || bytesOf(patch) > PATCH_BYTES_MAX) {
    return { decision: { outcome: 'skipped', reason: 'too-large' }, patch: [], warnings: [TOO_LARGE] };
  }
  const warnings = [
    ...asked.warnings,
    ...(gate === 'bypassed' && bypass !== undefined ? [bypass] : []),
    ...wish.warnings,
    ...(sidecar === undefined ? [] : sidecarWarnings(sidecar)),
  ];
  return { decision: { outcome: 'admitted', gate, ...(sidecar && { sidecar }) }, patch, warnings };
}

const TOO_LARGE =
  'miroir: the pod is left as it is, since it is so large that it might not fit with what would be added';

/** Undefined when it is to be looked at. */
export function reasonToSkip(
  pod: Pod,
  { namespace, ownNamespace }: Pick<AdmissionContext, 'namespace' | 'ownNamespace'>,
): SkipReason | undefined {
  const label = pod.labels[MIRROR_LABEL];
  if (pod.annotations?.[MIRROR_POD_ANNOTATION] !== undefined) return 'mirror-pod';
  if (namespace.name === ownNamespace) return 'our-own';
  if (label === 'disabled') return 'opted-out';
  if (label !== 'enabled' && namespace.labels[MIRROR_LABEL] !== 'enabled') return 'not-opted-in';
  if (pod.owners.some(({ kind, isController }) => isController && kind === 'DaemonSet')) return 'daemonset';
  if (pod.nodeName !== undefined) return 'node-name-set';
  if (pod.priorityClassName?.startsWith(SYSTEM_PRIORITY)) return 'system-critical';
  if (pod.isWindows) return 'windows';
  return undefined;
}

/** The pod's word goes before its namespace's. One that there is not is passed over: it must not decide by mistake. */
function askedWord<W extends string>(
  pod: Pod,
  namespace: NamespaceView,
  annotation: string,
  words: readonly W[],
): { word: W | undefined; warnings: readonly string[] } {
  const warnings: string[] = [];
  for (const [owner, annotations] of [
    ['pod', pod.annotations],
    [`namespace`, namespace.annotations],
  ] as const) {
    const asked = annotations?.[annotation];
    if (asked === undefined) continue;
    const word = words.find((candidate) => candidate === asked);
    if (word !== undefined) return { word, warnings };
    warnings.push(
      `miroir: the annotation ${annotation} of the ${owner} is ${quoteForWarning(asked)}, which is none of ${words.join(', ')}`,
    );
  }
  return { word: undefined, warnings };
}

function askedMode(pod: Pod, namespace: NamespaceView): { mode: GateMode; warnings: readonly string[] } {
  const { word, warnings } = askedWord(pod, namespace, GATE_ANNOTATION, GATE_MODES);
  return { mode: word ?? DEFAULT_MODE, warnings };
}

function askedSidecar(pod: Pod, namespace: NamespaceView): { isAsked: boolean; warnings: readonly string[] } {
  const { word, warnings } = askedWord(pod, namespace, SIDECAR_ANNOTATION, ['enabled', 'disabled']);
  return { isAsked: word === 'enabled', warnings };
}

/**
 * What was decided when the pod was here before: states change between two calls, an answer must not. Believed only when
 * the pod has all that goes with it, and when it can come of what is asked for now: anyone can write an annotation.
 */
function recordedGate(pod: Pod, asked: GateMode, version: string): GateApplied | undefined {
  const recorded = pod.annotations?.[GATE_APPLIED_ANNOTATION];
  const isPossible = recorded === asked || (recorded === 'bypassed' && asked !== 'prefer' && asked !== 'off');
  if (!isPossible || pod.annotations?.[ADMITTED_ANNOTATION] !== version) return undefined;
  return gatePatch(pod, recorded).length === 0 ? recorded : undefined;
}

type Annotations = Readonly<Record<string, string>>;

function annotationPatch(pod: Pod, wanted: Annotations): readonly AddOperation[] {
  const path = ['metadata', 'annotations'];
  if (pod.annotations === undefined) return [add(path, wanted)];
  return Object.entries(wanted)
    .filter(([key, value]) => pod.annotations?.[key] !== value)
    .map(([key, value]) => add([...path, key], value));
}

function ourAnnotations(gate: GateApplied, version: string, sidecar: SidecarApplied | undefined): Annotations {
  return {
    [ADMITTED_ANNOTATION]: version,
    [GATE_APPLIED_ANNOTATION]: gate,
    ...(sidecar && { [SIDECAR_APPLIED_ANNOTATION]: sidecar }),
  };
}

function annotationBytes(pod: Pod, ours: Annotations): number {
  const all = Object.entries({ ...pod.annotations, ...ours });
  return all.reduce((sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value), 0);
}

function bytesOf(patch: readonly AddOperation[]): number {
  return Buffer.byteLength(JSON.stringify(patch));
}

/** Warnings end up in a terminal, and in a header: printable ASCII only. */
function quoteForWarning(text: string): string {
  const printable = text.slice(0, QUOTED_CHARS_MAX).replace(/[^\x20-\x7e]|["\\]/g, '?');
  return `"${printable}${text.length > QUOTED_CHARS_MAX ? '...' : ''}"`;
}
