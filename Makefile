# Everything one can do here; `make help` lists it.
MAKEFLAGS += --no-print-directory
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
NODE := node_modules/.bin/node
KUBECONFIG ?= $(CURDIR)/.cluster/kubeconfig
.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: setup
setup: ## install what everything below needs; they call it themselves
	@hack/setup/bootstrap.sh

.PHONY: demo
demo: setup ## the main job on a fresh cluster, shown step by step [CLUSTER=kind]
	@$(NODE) hack/demo/main.ts up

.PHONY: demo-down
demo-down: setup ## remove the demo's cluster
	@$(NODE) hack/demo/main.ts down

.PHONY: test
test: setup ## all suites; ONLY=R07 runs the tests whose titles match
	@$(NODE) hack/test/main.ts

.PHONY: bench
bench: setup ## benchmarks, as tables and in build/bench; ONLY=e2e runs one area
	@$(NODE) test/bench/main.ts

.PHONY: verify
verify: setup ## format, lint, types, layers, generated files, licences
	@$(NODE) hack/verify/main.ts

.PHONY: generate
generate: setup ## make the generated files anew
	@$(NODE) hack/generate/main.ts

.PHONY: cluster
cluster: setup ## a real Kubernetes without Tulle; NODES=3 for more nodes
	@$(NODE) hack/cluster/main.ts up

.PHONY: cluster-down
cluster-down: setup ## remove that cluster
	@$(NODE) hack/cluster/main.ts down

.PHONY: images
images: setup ## build the container images and report their sizes
	@$(NODE) hack/images/main.ts

.PHONY: install
install: setup ## Tulle on the cluster of KUBECONFIG
	@KUBECONFIG=$(KUBECONFIG) $(NODE) hack/install/main.ts

.PHONY: format
format: setup ## format all sources
	@node_modules/.bin/biome check --write . && cd dataplane && cargo fmt
