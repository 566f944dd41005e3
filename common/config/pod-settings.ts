import { duration, filePath, host, hostPort, onOff, port, registry } from './kinds.ts';
import { optional, required, withDefault } from './setting.ts';

/** How pods that pull by themselves get to the mirror of their node. */
export const POD_SETTINGS = {
  podAddress: optional({
    commands: ['mirror'],
    kind: hostPort,
    unset: 'pods are not served',
    help: "Where agents in this node's pods ask, with a token of Kubernetes' that is bound to their pod. --pod-token-keys-file and --node-name are needed with it",
    example: '0.0.0.0:29986',
  }),
  podTokenKeysFile: optional({
    commands: ['mirror'],
    kind: filePath,
    unset: 'no token is believed',
    help: 'A file with the issuer and the public keys of the tokens of pods, as JSON: what kubectl get --raw /openid/v1/jwks prints, with the issuer added as "issuer"',
    example: '/etc/miroir/pods/keys.json',
  }),
  nodeName: optional({
    commands: ['mirror'],
    kind: host,
    unset: 'no token is believed',
    help: "This node's name in Kubernetes: the tokens of its pods hold it",
    example: 'node-1',
  }),
  mirrorHost: required({
    commands: ['agent'],
    kind: host,
    required: "the address of the pod's node, which a pod has as the field status.hostIP",
    help: 'Where the mirror of this node is reached, without a port',
    example: '10.0.0.7',
  }),
  mirrorPort: withDefault({
    commands: ['agent'],
    kind: port,
    default: '29986',
    help: 'The port of --pod-address of the mirror',
    example: '29986',
  }),
  podTokenFile: withDefault({
    commands: ['agent'],
    kind: filePath,
    default: '/var/run/secrets/miroir.dev/token',
    help: 'A file with the token of the pod, for the audience miroir.dev, read again when it changes',
    example: '/var/run/secrets/miroir.dev/token',
  }),
  defaultRegistry: withDefault({
    commands: ['agent'],
    kind: registry,
    default: 'docker.io',
    help: 'The registry of names that come without one, as those of dockerd',
    example: 'registry.example',
  }),
  answerTags: withDefault({
    commands: ['agent'],
    kind: onOff,
    default: 'off',
    help: 'Whether tags are answered, by what the mirrors resolved last, which can lag behind the registry. When off they are left to the registry, and digests are answered',
    example: 'on',
  }),
  waitForMirror: withDefault({
    commands: ['agent'],
    kind: duration,
    default: '15s',
    help: 'How long the start of the pod waits at most for the mirror of its node',
    example: '1m',
  }),
} as const;
