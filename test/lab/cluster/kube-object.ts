/**
 * What tests read of objects of the API, of whatever kind, and of its refusals: each has a few of these. A field that is not there
 * fails what is asserted of it.
 */
export interface KubeObject {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly generation: number;
    readonly labels: Readonly<Record<string, string>>;
    readonly annotations: Readonly<Record<string, string>>;
  };
  readonly spec: KubeSpec;
  readonly status: KubeStatus;
  /** Of a list. */
  readonly items: readonly KubeObject[];
  /** Of a Secret or a ConfigMap. */
  readonly data: Readonly<Record<string, string>>;
  /** Of a webhook configuration. */
  readonly webhooks: readonly { readonly name: string; readonly clientConfig: { caBundle?: string } }[];
  /** Of a role. */
  readonly rules: readonly object[];
  /** Of an Event, or of what was refused. */
  readonly type: string;
  readonly reason: string;
  readonly message: string;
}

export interface KubeList<T> {
  readonly items: readonly T[];
}

export interface KubeSpec {
  readonly nodeName?: string;
  readonly affinity: {
    readonly nodeAffinity: {
      readonly requiredDuringSchedulingIgnoredDuringExecution: {
        readonly nodeSelectorTerms: readonly [{ readonly matchExpressions: readonly object[] }];
      };
    };
  };
  readonly initContainers?: readonly {
    readonly name: string;
    readonly image: string;
    readonly restartPolicy: string;
    readonly args: readonly string[];
    readonly resources: object;
  }[];
  readonly volumes: readonly { readonly projected: { readonly sources: readonly object[] } }[];
  readonly schedulingGates: readonly { readonly name: string }[];
  readonly taints?: readonly object[];
  readonly template: { readonly spec: { readonly containers: readonly [{ readonly args: readonly string[] }] } };
}

export interface KubeStatus {
  readonly conditions: readonly { readonly type: string; readonly status: string; readonly reason: string }[];
  /** Of a certificate of cert-manager. */
  readonly revision: number;
  /** Of a token. */
  readonly token: string;
  /** Of a Deployment. */
  readonly observedGeneration: number;
  readonly updatedReplicas?: number;
  readonly readyReplicas?: number;
  readonly replicas?: number;
}
