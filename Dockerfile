# Miroir's image: Node, the C libraries that it links to, and the bundle. No shell, no package manager. What the bundle is made of is in
# /usr/share/doc/miroir/sbom.cdx.json.
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg COMMIT=$(git rev-parse --short=12 HEAD) --build-arg VERSION=0.1.0 .
#
# The same sources on the same base give the same bytes, where the builder sets times (SOURCE_DATE_EPOCH, buildah's --timestamp).

# A Debian with Node 26 in /usr/local/bin, and npm.
ARG BASE=node:26-bookworm-slim
ARG NODE=/usr/local/bin/node

FROM ${BASE} AS runtime
ARG NODE
# The symbols are a fifth of Node. ldd names the libraries, in the folders where Debian has them on this architecture.
RUN command -v strip > /dev/null || { apt-get update && apt-get install --yes --no-install-recommends binutils; }
RUN set -eu; \
    mkdir -p /rootfs/usr/local/bin /rootfs/etc; \
    strip -o /rootfs/usr/local/bin/node "$(readlink -f "$NODE")"; \
    ldd "$NODE" | grep -o '/[^ ]*' | sort -u | while read -r library; do \
      install -D -m 755 "$(readlink -f "$library")" "/rootfs$library"; \
    done; \
    echo 'root:x:0:0:root:/:/sbin/nologin' > /rootfs/etc/passwd; \
    echo 'miroir:x:65532:65532:miroir:/:/sbin/nologin' >> /rootfs/etc/passwd; \
    echo 'hosts: files dns' > /rootfs/etc/nsswitch.conf

FROM ${BASE} AS bundle
ARG NODE COMMIT
WORKDIR /src
COPY . .
# Where the packages are there already, as in the lab, nothing is fetched.
RUN [ -d node_modules/esbuild ] || npm ci --loglevel=error
RUN set -eu; export PATH="/src/node_modules/.bin:$PATH"; \
    MIROIR_COMMIT="$COMMIT" "$NODE" scripts/build.ts; \
    mkdir -p /app/usr/local/bin /app/usr/local/lib /app/usr/share/doc/miroir; \
    mv dist /app/usr/local/lib/miroir; \
    rm /app/usr/local/lib/miroir/miroir; \
    sed -i '1i#!/usr/local/bin/node --optimize-for-size' /app/usr/local/lib/miroir/miroir.js; \
    chmod 755 /app/usr/local/lib/miroir/miroir.js; \
    ln -s ../lib/miroir/miroir.js /app/usr/local/bin/miroir; \
    mv /app/usr/local/lib/miroir/sbom.cdx.json LICENSE /app/usr/share/doc/miroir/

FROM scratch
ARG BASE COMMIT VERSION
LABEL org.opencontainers.image.title="Miroir" \
      org.opencontainers.image.description="A stateless, peer-to-peer OCI registry mirror for Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      org.opencontainers.image.base.name="${BASE}"
# What changes with Node first, so that a new Miroir is a pull of the second layer alone.
COPY --from=runtime /rootfs /
COPY --from=bundle /app /
# As scripts/launcher.sh, for the memory of a mirror on every node.
ENV PATH=/usr/local/bin NODE_ENV=production NODE_OPTIONS=--max-semi-space-size=4 MALLOC_ARENA_MAX=1
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/miroir"]
