/**
 * A new pod, as far as admission looks at it. `undefined` is absent or null: for the API both are the same, and an `add`
 * replaces a null.
 */
export interface Pod {
  readonly labels: Readonly<Record<string, string>>;
  /** Undefined when the pod has none, which a patch must know. */
  readonly annotations: Readonly<Record<string, string>> | undefined;
  readonly owners: readonly { readonly kind: string; readonly isController: boolean }[];
  readonly nodeName: string | undefined;
  readonly priorityClassName: string | undefined;
  readonly isWindows: boolean;
  /** Names; undefined when the pod has no list of them. */
  readonly schedulingGates: readonly string[] | undefined;
  readonly affinity: Affinity | undefined;
  readonly hasServiceAccount: boolean;
  readonly isOnHostNetwork: boolean;
  /** What all of its containers together may use is said for the pod. */
  readonly hasPodResources: boolean;
  readonly containers: readonly Container[];
  /** Undefined when the pod has no list of them. */
  readonly initContainers: readonly Container[] | undefined;
  /** Names; undefined when the pod has no list of them. */
  readonly volumes: readonly string[] | undefined;
}

export interface Container {
  readonly name: string;
  readonly ports: readonly unknown[];
  /** Of an init container `Always` makes a sidecar. */
  readonly restartPolicy: unknown;
}

export interface Affinity {
  readonly node: NodeAffinity | undefined;
}

export interface NodeAffinity {
  readonly required: { readonly terms: readonly Term[] } | undefined;
  readonly preferred: readonly Preference[] | undefined;
}

export interface Term {
  readonly expressions: readonly Expression[] | undefined;
  /** Without expressions and fields a term matches no node. */
  readonly hasFields: boolean;
}

export interface Expression {
  readonly key: unknown;
  readonly operator: unknown;
  readonly values: unknown;
}

export interface Preference {
  readonly weight: unknown;
  readonly expressions: readonly Expression[] | undefined;
  readonly hasFields: boolean;
}

type Json = Readonly<Record<string, unknown>>;

class NotAPod extends Error {}

/** Undefined when it is no pod, or one whose parts are not of the types that the API has for them. */
export function parsePod(value: unknown): Pod | undefined {
  try {
    return readPod(object(value));
  } catch (error) {
    if (error instanceof NotAPod) return undefined;
    throw error;
  }
}

function readPod(pod: Json): Pod {
  const metadata = object(pod['metadata']);
  const spec = object(pod['spec']);
  const affinity = optional(spec['affinity'], object);
  const nodeSelector = optional(spec['nodeSelector'], texts);
  const os = optional(spec['os'], object);
  return {
    labels: optional(metadata['labels'], texts) ?? {},
    annotations: optional(metadata['annotations'], texts),
    owners: (optional(metadata['ownerReferences'], list) ?? []).map(object).map(({ kind, controller }) => ({
      kind: text(kind),
      isController: controller === true,
    })),
    // An empty name is what the API calls none.
    nodeName: optional(spec['nodeName'], text) || undefined,
    priorityClassName: optional(spec['priorityClassName'], text) || undefined,
    isWindows: os?.['name'] === 'windows' || nodeSelector?.['kubernetes.io/os'] === 'windows',
    schedulingGates: optional(spec['schedulingGates'], list)?.map((gate) => text(object(gate)['name'])),
    affinity: affinity && { node: optional(affinity['nodeAffinity'], readNodeAffinity) },
    hasServiceAccount: Boolean(optional(spec['serviceAccountName'], text)),
    isOnHostNetwork: spec['hostNetwork'] === true,
    hasPodResources: optional(spec['resources'], object) !== undefined,
    containers: (optional(spec['containers'], list) ?? []).map(readContainer),
    initContainers: optional(spec['initContainers'], list)?.map(readContainer),
    volumes: optional(spec['volumes'], list)?.map((volume) => text(object(volume)['name'])),
  };
}

function readContainer(value: unknown): Container {
  const { name, ports, restartPolicy } = object(value);
  return {
    name: text(name),
    ports: (optional(ports, list) ?? []).map((port) => object(port)['containerPort']),
    restartPolicy,
  };
}

function readNodeAffinity(value: unknown): NodeAffinity {
  const affinity = object(value);
  const required = optional(affinity['requiredDuringSchedulingIgnoredDuringExecution'], object);
  const preferred = optional(affinity['preferredDuringSchedulingIgnoredDuringExecution'], list);
  return {
    required: required && { terms: (optional(required['nodeSelectorTerms'], list) ?? []).map(readTerm) },
    preferred: preferred?.map(object).map(({ weight, preference }) => ({ weight, ...readTerm(preference) })),
  };
}

function readTerm(value: unknown): Term {
  const term = object(value);
  return {
    expressions: optional(term['matchExpressions'], list)
      ?.map(object)
      .map(({ key, operator, values }) => ({ key, operator, values })),
    hasFields: (optional(term['matchFields'], list) ?? []).length > 0,
  };
}

function optional<T>(value: unknown, read: (value: unknown) => T): T | undefined {
  return value === undefined || value === null ? undefined : read(value);
}

function object(value: unknown): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new NotAPod();
  return value as Json;
}

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new NotAPod();
  return value;
}

function text(value: unknown): string {
  if (typeof value !== 'string') throw new NotAPod();
  return value;
}

/** Without a prototype: a label may be called `constructor`. */
function texts(value: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(object(value)).map(([key, item]) => [key, text(item)] as const);
  return Object.assign(Object.create(null) as Record<string, string>, Object.fromEntries(entries));
}
