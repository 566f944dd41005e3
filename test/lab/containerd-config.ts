/** What a node's containerd is told; its folders have their usual names, since they are the node's own. */
export function containerdConfig(version: string): string {
  const is1 = version.startsWith('1.');
  const images = is1 ? 'io.containerd.grpc.v1.cri' : 'io.containerd.cri.v1.images';
  const runtime = is1 ? 'io.containerd.grpc.v1.cri' : 'io.containerd.cri.v1.runtime';
  const oomScore = 'restrict_oom_score_adj = true # Or runc starts no sandbox without CAP_SYS_RESOURCE.';
  return `version = ${is1 ? 2 : 3}
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."${runtime}"]
  ${oomScore}

[plugins."${images}".registry]
  config_path = "/etc/containerd/certs.d"
`;
}
