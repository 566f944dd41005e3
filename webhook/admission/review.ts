import type { Decision, FailReason } from '../decision.ts';
import type { AddOperation } from './json-patch.ts';
import type { Mutation } from './mutate-pod.ts';

/** What is read of https://kubernetes.io/docs/reference/config-api/apiserver-admission.v1/#admission-k8s-io-v1-AdmissionReview. */
export interface Review {
  readonly apiVersion: string;
  readonly uid: string;
  /** Undefined when the review is not of version v1, or says too little. */
  readonly request: ReviewRequest | undefined;
}

export interface ReviewRequest {
  readonly namespace: string;
  /** Anything but the creation of a pod itself is let through as it is. */
  readonly isNewPod: boolean;
  readonly object: unknown;
}

const API_VERSION = 'admission.k8s.io/v1';
/** A uid is a UUID; more room for those who call us by hand. */
const UID_CHARS_MAX = 128;
const API_VERSION_CHARS_MAX = 64;
/** What the apiserver passes on of a warning, less the words around it. */
const WARNING_CHARS_MAX = 240;

/** Undefined when nothing can be answered to it that the apiserver would take: an answer needs the request's uid. */
export function parseReview(value: unknown): Review | undefined {
  const { apiVersion, kind, request } = record(value);
  if (typeof apiVersion !== 'string' || apiVersion.length > API_VERSION_CHARS_MAX) return undefined;
  const { uid, namespace, operation, resource, subResource, object } = record(request);
  if (typeof uid !== 'string' || uid === '' || uid.length > UID_CHARS_MAX) return undefined;
  const review = { apiVersion, uid };
  if (apiVersion !== API_VERSION || kind !== 'AdmissionReview') return { ...review, request: undefined };
  const { group, version, resource: plural } = record(resource);
  if (typeof plural !== 'string' || typeof operation !== 'string') return { ...review, request: undefined };
  const isPod = (group ?? '') === '' && version === 'v1' && plural === 'pods' && (subResource ?? '') === '';
  const isNewPod = isPod && operation === 'CREATE';
  if (isNewPod && typeof namespace !== 'string') return { ...review, request: undefined };
  return { ...review, request: { namespace: typeof namespace === 'string' ? namespace : '', isNewPod, object } };
}

/** The answer, which always lets the pod through: `allowed: false` would reject it whatever the failure policy says. */
export function formatReview({ apiVersion, uid }: Review, { decision, patch, warnings }: Mutation): object {
  return {
    apiVersion,
    kind: 'AdmissionReview',
    response: {
      uid,
      allowed: true,
      ...(patch.length > 0 && { patchType: 'JSONPatch', patch: encodePatch(patch) }),
      ...(warnings.length > 0 && { warnings: warnings.map((text) => text.slice(0, WARNING_CHARS_MAX)) }),
      auditAnnotations: auditAnnotations(decision),
    },
  };
}

/** The words of the decision. The apiserver puts the webhook's name before each key. */
function auditAnnotations(decision: Decision): Readonly<Record<string, string>> {
  return { ...decision };
}

export function failOpen(reason: FailReason): Mutation {
  const warning = `miroir: the pod was let through as it is (${reason}): it may run where images do not come from the mirror`;
  return { decision: { outcome: 'failed', reason }, patch: [], warnings: [warning] };
}

function encodePatch(patch: readonly AddOperation[]): string {
  return Buffer.from(JSON.stringify(patch)).toString('base64');
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}
