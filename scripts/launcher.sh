#!/bin/sh
# Runs miroir with Node 26 or newer: $MIROIR_NODE, the one that npm ci installed, or the one on the PATH.
set -eu

self=$(readlink -f "$0")
dist=$(dirname "$self")

is_new_enough() {
  major=$("$1" --version 2>/dev/null | sed -n 's/^v\([0-9][0-9]*\)\..*/\1/p')
  [ -n "$major" ] && [ "$major" -ge 26 ]
}

if [ -n "${MIROIR_NODE:-}" ]; then
  node=$MIROIR_NODE
elif [ -x "$dist/../node_modules/node/bin/node" ]; then
  node=$dist/../node_modules/node/bin/node
else
  node=$(command -v node || true)
fi

if [ -z "$node" ] || ! is_new_enough "$node"; then
  echo "miroir: needs Node 26 or newer${node:+, and $node is not}; run npm ci beside dist/, or name a Node with MIROIR_NODE" >&2
  exit 2
fi

# A mirror runs on every node, so its memory counts. Measured on a node with two others: 86 to 87 MB of RSS at rest, and 92 without
# the flags of Node. A small young generation, no code that is compiled for
# speed at the cost of size, and one heap for the C library instead of one a thread.
export MALLOC_ARENA_MAX=1
exec "$node" --max-semi-space-size=4 --optimize-for-size "$dist/miroir.js" "$@"
