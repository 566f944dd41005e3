#!/usr/bin/env bash
# Installs the Debian packages that the lab's nodes and its upstream are made of, where they are missing; with `bench`,
# those that the benchmarks compare with, too.
set -euo pipefail

packages=(
  containerd runc            # the nodes' 1.6
  containernetworking-plugins
  buildah                    # the image, on a base of this Debian's packages
  bash binutils coreutils dash findutils grep libatomic1 libc-bin libstdc++6 sed
  docker-registry            # the upstream, and what the bench compares with
  curl openssl               # commands of the guides
  iproute2 nftables          # networks, and cutting them
  podman                     # pulls in a pod by itself, as buildah does
  prometheus                 # scrapes a cluster, and its promtool judges the chart's alerts
)
# Either of two packages that exclude each other will do: asks a node's mirror from inside of the node.
command -v busybox > /dev/null || packages+=(busybox-static)
command -v npm > /dev/null || packages+=(nodejs npm) # Only to run npm ci, which brings the Node that the project uses.

if [[ ${1:-} == bench ]]; then packages+=(nginx-light wrk); fi

missing=()
for package in "${packages[@]}"; do
  [[ $(dpkg-query --show --showformat='${Status}' "$package" 2> /dev/null) == 'install ok installed' ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

echo "Installing ${missing[*]}"
if [[ $(id -u) -ne 0 ]]; then
  echo "This needs root, as the lab does: run make as root, or apt-get install ${missing[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# Nothing that is there already may go for it.
apt-get install -qq --yes --no-install-recommends --no-remove "${missing[@]}" > /dev/null
