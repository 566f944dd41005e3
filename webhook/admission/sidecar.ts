import { POD_TOKEN_AUDIENCE } from '../../common/pod-token.ts';
import type { SidecarApplied } from '../decision.ts';
import { SIDECAR_APPLIED_ANNOTATION } from '../labels.ts';
import { type AddOperation, add } from './json-patch.ts';
import type { Pod } from './pod.ts';

/** The agent that pods get which ask for one. */
export interface SidecarOptions {
  readonly image: string;
  /** Of `--pod-address` of the mirrors. */
  readonly mirrorPort: number;
  readonly resources: { readonly requests: object; readonly limits: object };
  /** More flags of `miroir agent`. */
  readonly flags: readonly string[];
}

const SIDECAR_NAME = 'miroir-agent';
const VOLUME = 'miroir-pod-token';
/** Defaults of `miroir agent`. */
const REGISTRY_PORT = 29_981;
const HEALTH_PORT = 29_984;
const TOKEN_DIR = '/var/run/secrets/miroir.dev';
/** The kubelet gets a new one when a fifth of it is left. */
const TOKEN_SECONDS = 3600;
/** As the chart has it for the webhook. */
const NOBODY = 65_532;
/** In seconds. The agent says by itself that it is ready when it has waited for long enough; this is for one that is broken. */
const START_SECONDS_MAX = 120;

/** What can be made of the wish, for this pod. */
export function sidecarFor(pod: Pod, offered: SidecarOptions | undefined): SidecarApplied {
  if (isInjected(pod)) return 'injected';
  if (offered === undefined) return 'not-offered';
  if (pod.isOnHostNetwork) return 'host-network';
  const all = [...pod.containers, ...(pod.initContainers ?? [])];
  if (all.some(({ name }) => name === SIDECAR_NAME) || pod.volumes?.includes(VOLUME)) return 'name-taken';
  if (all.some(({ ports }) => ports.includes(REGISTRY_PORT) || ports.includes(HEALTH_PORT))) return 'port-taken';
  return pod.hasServiceAccount ? 'injected' : 'no-service-account';
}

/** What the pod still lacks of it: nothing when it has been through here before. */
export function sidecarPatch(pod: Pod, offered: SidecarOptions | undefined): readonly AddOperation[] {
  if (isInjected(pod) || offered === undefined || sidecarFor(pod, offered) !== 'injected') return [];
  const container = sidecarContainer(offered, pod.hasPodResources);
  // Before all others: their images are not pulled, and they are not started, before it is ready.
  const containers =
    pod.initContainers === undefined
      ? add(['spec', 'initContainers'], [container])
      : add(['spec', 'initContainers', 0], container);
  const volumes = pod.volumes === undefined ? add(['spec', 'volumes'], [TOKEN]) : add(['spec', 'volumes', '-'], TOKEN);
  return [containers, volumes];
}

/**
 * Whether it came through here before: its word and its parts are there. Others may have added to the container since, and the image
 * may be that of another release.
 */
function isInjected({ annotations, initContainers, volumes }: Pod): boolean {
  return (
    annotations?.[SIDECAR_APPLIED_ANNOTATION] === 'injected' &&
    initContainers?.some(({ name, restartPolicy }) => name === SIDECAR_NAME && restartPolicy === 'Always') === true &&
    volumes?.includes(VOLUME) === true
  );
}

/** Bound to the pod, and so to its node; the kubelet keeps it fresh. */
const TOKEN = {
  name: VOLUME,
  projected: {
    sources: [
      { serviceAccountToken: { audience: POD_TOKEN_AUDIENCE, expirationSeconds: TOKEN_SECONDS, path: 'token' } },
    ],
  },
};

/** Within what the Pod Security level `restricted` allows. */
function sidecarContainer({ image, mirrorPort, resources, flags }: SidecarOptions, hasPodResources: boolean): object {
  return {
    name: SIDECAR_NAME,
    image,
    imagePullPolicy: 'IfNotPresent',
    restartPolicy: 'Always',
    args: ['agent', '--mirror-host=$(NODE_ADDRESS)', `--mirror-port=${mirrorPort}`, ...flags],
    env: [{ name: 'NODE_ADDRESS', valueFrom: { fieldRef: { fieldPath: 'status.hostIP' } } }],
    startupProbe: {
      httpGet: { path: '/readyz', port: HEALTH_PORT },
      periodSeconds: 1,
      failureThreshold: START_SECONDS_MAX,
    },
    // A pod that has its own must have room in it for all of its containers.
    ...(!hasPodResources && { resources }),
    securityContext: {
      allowPrivilegeEscalation: false,
      capabilities: { drop: ['ALL'] },
      readOnlyRootFilesystem: true,
      runAsGroup: NOBODY,
      runAsNonRoot: true,
      runAsUser: NOBODY,
      seccompProfile: { type: 'RuntimeDefault' },
    },
    volumeMounts: [{ name: VOLUME, mountPath: TOKEN_DIR, readOnly: true }],
  };
}

/** For the user. */
export function sidecarWarnings(applied: SidecarApplied): readonly string[] {
  switch (applied) {
    case 'injected':
      return [];
    case 'host-network':
      return [
        `miroir: the pod gets no agent: it is on its node's network, where the mirror is at 127.0.0.1:${REGISTRY_PORT}`,
      ];
    case 'name-taken':
      return [`miroir: the pod gets no agent: it has a container ${SIDECAR_NAME} or a volume ${VOLUME} of its own`];
    case 'port-taken':
      return [`miroir: the pod gets no agent: a container of it has port ${REGISTRY_PORT} or ${HEALTH_PORT}`];
    case 'no-service-account':
      return ['miroir: the pod gets no agent: it has no service account, whose token the agent would need'];
    case 'not-offered':
      return ['miroir: the pod gets no agent: pods are not served by mirrors here'];
  }
}
