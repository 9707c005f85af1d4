# syntax=docker/dockerfile:1
# The image of a node. It is built in three stages, so that it contains neither the compiler nor npm's cache.
# Base images are pinned to an exact version. Where you build, pin the digest as well (`docker buildx imagetools inspect`).

FROM node:24.21.0-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# The compiler is an optional dependency of typescript, so no dependencies may be omitted here.
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src ./src
COPY deploy/build.mjs ./deploy/
RUN npm run build

FROM node:24.21.0-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
# The optional dependencies are Node itself, for machines with an older Node. The image has it already.
RUN npm ci --omit=dev --omit=optional

FROM node:24.21.0-slim
# NFT=yes adds the program for SPILLWAY_KERNEL_OFFLOAD=nftables (deploy/compose/kernel-offload.yml).
ARG NFT=no
RUN if [ "$NFT" = yes ]; then apt-get update && apt-get install -y --no-install-recommends nftables && rm -rf /var/lib/apt/lists/*; fi
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="spillway" \
      org.opencontainers.image.description="Inbound spam-flood shedding SMTP proxy" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/node:24.21.0-slim"
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY package.json LICENSE ./
# This is the account "node" of the base image. It is given by number so that Kubernetes can see that it is not root
# (runAsNonRoot). Spillway never writes below /, so run it with a read-only root.
USER 1000:1000
EXPOSE 2525 9025
# SIGTERM drains. Allow 720 s before the container is killed (docs/deploy/upgrade.md).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=3 CMD ["node", "dist/main.js", "healthcheck", "--mail"]
ENTRYPOINT ["node", "--max-semi-space-size=8", "--", "dist/main.js"]
CMD ["serve"]
