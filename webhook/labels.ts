/** The words of the contract with users: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/. */

/** On a namespace `enabled` opts in; on a pod `enabled` or `disabled` goes before it. */
export const MIRROR_LABEL = 'miroir.dev/mirror';
/** On a pod, or on its namespace: the gate mode that is asked for. */
export const GATE_ANNOTATION = 'miroir.dev/gate';
/** On a pod, or on its namespace: `enabled` asks for an agent in the pod, `disabled` for none. */
export const SIDECAR_ANNOTATION = 'miroir.dev/sidecar';
/** On a pod that asked for an agent: what was made of it. */
export const SIDECAR_APPLIED_ANNOTATION = 'miroir.dev/sidecar-applied';
/** On a pod: the version that admitted it. */
export const ADMITTED_ANNOTATION = 'miroir.dev/admitted';
/** On a pod: what was made of the gate mode. */
export const GATE_APPLIED_ANNOTATION = 'miroir.dev/gate-applied';
/** On a node: `compatible`, `incompatible`, or absent where nobody knows. */
export const NODE_LABEL = 'miroir.dev/containerd';
/** On a node, with the label: the verdict and the code of its reason, in one line. */
export const TOLD_ANNOTATION = 'miroir.dev/verdict';
/** Holds back a pod of mode `wait` until a controller lifts it. */
export const SCHEDULING_GATE = 'miroir.dev/mirror-ready';
/** On the Secret of the authorities, with any value: asks for a new one. */
export const ROTATE_ANNOTATION = 'miroir.dev/rotate';
