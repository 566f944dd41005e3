# The front door: `make` tells what there is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# The project's own Node and tools, which npm ci brings, before those of the machine.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

.PHONY: help
help: ## Tell what there is
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | sort | while IFS=$$'\t' read -r name what; do printf '  make %-12s %s\n' "$$name" "$$what"; done

.PHONY: demo
demo: debian node_modules ## Three nodes, a slow registry, and what Miroir makes of them (root, half a minute once installed)
	@npm run --silent demo

.PHONY: test
test: setup check unit build integration e2e ## Everything that CI runs (root, under half an hour)

.PHONY: check
check: node_modules ## Types, lint, dead code and the rules of the house (seconds)
	@npm run --silent check

.PHONY: unit
unit: node_modules ## The tests that need no root (under a minute)
	@npm test --silent

.PHONY: integration
integration: setup ## The tests on real containerds (root)
	@node --test --test-concurrency=1 "test/integration/**/*.test.ts"

.PHONY: e2e
e2e: setup ## Whole clusters: the chart installed, rollouts, nodes that go and come, a prune, an uninstall, what the guides say (root, under ten minutes)
	@node --test --test-concurrency=1 "test/e2e/**/*.test.ts"

.PHONY: soak
soak: setup ## Half an hour of pulls, restarts and faults by chance on four nodes (root)
	@node test/soak/run.ts

.PHONY: build
build: node_modules ## dist/miroir: the bundle and its launcher
	@npm run --silent build
	@dist/miroir version

.PHONY: image
image: debian node_modules ## The container image, built and run here without a network (root, buildah)
	@node scripts/image.ts

.PHONY: bench
bench: setup build ## Every benchmark, as tables
	@scripts/debian-packages.sh bench
	@npm run --silent bench

.PHONY: docs
docs: node_modules ## Write the reference pages that are made from code
	@npm run --silent docs

.PHONY: setup
setup: debian node_modules ## Install what tests need: Debian packages, npm packages, the lab's programs
	@npm run --silent lab -- build

.PHONY: debian
debian:
	@scripts/debian-packages.sh

.PHONY: node_modules
node_modules:
	@node scripts/is-installed.mjs || { echo 'Installing npm packages'; npm ci --loglevel=error; }
