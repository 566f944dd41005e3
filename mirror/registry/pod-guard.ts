import { errors, jwtVerify } from 'jose';
import { Counter, type Registry as MetricsRegistry } from 'prom-client';
import { POD_TOKEN_AUDIENCE, POD_TOKEN_HEADER } from '../../common/pod-token.ts';
import { refusal } from './oci-error.ts';
import type { Guard } from './request-guard.ts';
import type { TokenKeys } from './token-keys.ts';

/** Why somebody may not ask. */
const REASONS = ['absent', 'expired', 'invalid', 'keys-unknown', 'other-node'] as const;
export type TokenRefusal = (typeof REASONS)[number];

export interface PodGuardDeps {
  readonly keys: TokenKeys;
  readonly refusals: Counter<'reason'>;
}

/** What Kubernetes signs with: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/. */
const ALGORITHMS = ['RS256', 'ES256', 'ES384', 'ES512'];
/** The clocks of a node and of the control plane. */
const CLOCK_TOLERANCE_S = 30;
/** A token of Kubernetes has about 1200 characters. */
const TOKEN_CHARS_MAX = 8192;

const DENIED = refusal(403, 'DENIED', 'a token of a pod of this node is needed, which the agent of Miroir has');

/**
 * Lets pods of this node pass that show a token of their cluster's, made for Miroir and bound to a pod here. Whoever may have such a
 * token mounted into a pod may have any image run there too.
 */
export function createPodGuard({ keys, refusals }: PodGuardDeps, nodeName: string): Guard {
  return async ({ headers }) => {
    const token = headers[POD_TOKEN_HEADER];
    const reason = typeof token === 'string' ? await judge(keys, token, nodeName) : 'absent';
    if (reason === undefined) return undefined;
    refusals.inc({ reason });
    return DENIED;
  };
}

export function createPodGuardMetrics(registry: MetricsRegistry): Pick<PodGuardDeps, 'refusals'> {
  const refusals = new Counter({
    name: 'miroir_pod_refused_requests_total',
    help: 'Requests of pods that were refused, by what was wrong with their token.',
    labelNames: ['reason'],
    registers: [registry],
  });
  for (const reason of REASONS) refusals.inc({ reason }, 0);
  return { refusals };
}

async function judge(keys: TokenKeys, token: string, nodeName: string): Promise<TokenRefusal | undefined> {
  if (token.length > TOKEN_CHARS_MAX) return 'invalid';
  const known = await keys.current();
  if (known === undefined) return 'keys-unknown';
  try {
    const { payload } = await jwtVerify(token, known.keys, {
      issuer: known.issuer,
      audience: POD_TOKEN_AUDIENCE,
      algorithms: ALGORITHMS,
      requiredClaims: ['exp'],
      clockTolerance: CLOCK_TOLERANCE_S,
    });
    return boundNode(payload['kubernetes.io']) === nodeName ? undefined : 'other-node';
  } catch (error) {
    if (error instanceof errors.JWTExpired) return 'expired';
    if (error instanceof errors.JOSEError) return 'invalid';
    throw error;
  }
}

/** The private claim of tokens that are bound to a pod: `{"node":{"name":..},"pod":{"name":..}}`. */
function boundNode(claim: unknown): unknown {
  const { node, pod } = record(claim);
  return record(pod)['name'] === undefined ? undefined : record(node)['name'];
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}
