# nodeagent: run "make" to see what there is to make.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

GO ?= go
# All that is not for the race detector is compiled in one way, that in which
# beds build their programs: on a fresh machine nothing is compiled twice.
export CGO_ENABLED := 0
export GOFLAGS += -trimpath
NAME ?= bed
AGENT ?= nodeagent
# The agents that test-vm compares.
AGENTS ?= kubelet,nodeagent
# The version of a release is its tag; else it says which commit was built.
VERSION ?= $(or $(patsubst v%,%,$(shell git describe --tags --match 'v[0-9]*' --dirty 2>/dev/null)),0.1.0-dev.$(or $(shell git describe --always --dirty --exclude '*' 2>/dev/null),unknown))

# Which of test/conformance/lists: api, monitoring, node, resize or storage.
LIST ?= api

# How many packages of e2e run at once, each on a bed of its own. Two save some minutes
# where there are more than two processors.
E2E_PARALLEL ?= 1

# How often bench measures each agent.
ROUNDS ?= 5

# How much is tried. A history of the planner takes 0.4 ms, one of the whole
# core (sim) about 0.2 s, with the race detector about 2 s.
PLAN_HISTORIES ?= 3000
SIM_HISTORIES ?= 120
RACE_HISTORIES ?= 10
TORTURE_PLAN ?= 95000
TORTURE_SIM ?= 5000
FUZZ_TIME ?= 10s

RACE = CGO_ENABLED=1 $(GO) test -race
RUN = $(GO) run -buildvcs=false
BED = $(RUN) ./test/bed/cmd/bed
PLOT = $(GO) run -C test/bench/plot -buildvcs=false .
PLAN = ./internal/lifecycle/plan
SIM = ./test/sim
# Packages with tests that need a node of real components.
# The slow suites have targets of their own: latency, probeload, chaos, cridiff,
# registry, volumediff, volumes, logflood, statsdiff, scrapecost, test-vm.
SLOW = bench chaos cridiff registry scrapecost statsdiff volumediff
# Programs in modules of their own: what they need is no part of the product.
ASIDE = tools/benchgate test/bench/plot
E2E = $(filter-out $(SLOW:%=./test/%),$(shell grep -rl --include='*_test.go' '^//go:build e2e' test | xargs -r -n1 dirname | sort -u | sed 's|^|./|'))

##@ Try it

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {print "Usage: make TARGET"} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z][a-z0-9-]*:.*## / {split($$0, a, ":.*## "); printf "  %-14s %s\n", a[1], a[2]}' $(MAKEFILE_LIST)

.PHONY: demo
demo: prepare ## Run the pods of deploy/demo on this machine, without a cluster (root)
	@echo "Compiling the demo (minutes the first time) ..."
	@$(RUN) ./test/demo up

.PHONY: demo-down
demo-down: ## Stop the demo; nothing of it is left
	@$(RUN) ./test/demo down

.PHONY: cluster
cluster: bed-up ## Start a Kubernetes control plane and this node, kubectl included (root)
	@echo
	@echo "Or in one line, then look:"
	@echo "  eval \"\$$(go run ./test/bed/cmd/bed shell-env --name $(NAME))\""
	@echo "  kubectl get nodes,pods -A -o wide"
	@echo "Or stop it with: make cluster-down$(if $(filter-out bed,$(NAME)), NAME=$(NAME))"

.PHONY: cluster-down
cluster-down: bed-down ## Stop the cluster; nothing of it is left

##@ Build

.PHONY: build
build: ## Build bin/nodeagent
	@mkdir -p bin
	$(GO) build -buildvcs=false -tags grpcnotrace -ldflags '-s -w -X main.version=$(VERSION)' -o bin/nodeagent ./cmd/nodeagent

.PHONY: clean
clean: ## Remove bin/ (what beds built stays in ~/.cache/nodeagent-bed)
	rm -rf bin

##@ Test

.PHONY: test
test: prepare ## Everything: lint, vet, unit, histories, benchmarks, e2e; minutes (e2e needs root)
	@+MAKE='$(MAKE)' tools/stages.sh lint vet archtest unit histories benchmarks e2e@root

.PHONY: lint
lint: ## Run the linter; the first call builds it
	@tools/lint.sh
	@tools/lint.sh --build-tags e2e ./test/...
	@tools/lint.sh --build-tags vm ./test/vm/...
	@tools/lint.sh --build-tags volumeload ./test/volumes/...
	@for dir in $(ASIDE); do tools/lint.sh in "$$dir" .; done

.PHONY: vet
vet: ## go vet, also of the e2e tests
	@$(GO) vet ./...
	@$(GO) vet -tags e2e ./test/...
	@$(GO) vet -tags vm ./test/vm/...
	@$(GO) vet -tags volumeload ./test/volumes/...
	@for dir in $(ASIDE); do $(GO) vet -C "$$dir" .; done

.PHONY: archtest
archtest: ## Check the layers of the packages
	@$(GO) test -count=1 ./internal/archtest/...

.PHONY: unit
unit: prepare ## Unit tests with the race detector, in random order
	@$(RACE) -short -shuffle=on -timeout 10m $$($(GO) list ./... | grep -v '/test/sim$$')
	@for dir in $(ASIDE); do $(GO) test -C "$$dir" -shuffle=on .; done

.PHONY: histories
histories: prepare ## Random and crash histories of the planner and of the whole core
	@$(GO) test -count=1 -timeout 10m $(PLAN) -run Random -rapid.checks=$(PLAN_HISTORIES)
	@$(GO) test -count=1 -timeout 15m $(SIM) -histories=$(SIM_HISTORIES)
	@$(RACE) -count=1 -timeout 15m $(SIM) -run TestRandomHistories -seed=$$RANDOM -histories=$(RACE_HISTORIES)
	@echo "histories: $(PLAN_HISTORIES) of the planner, $(SIM_HISTORIES)+$(RACE_HISTORIES) of the core, and a crash at every effect"

.PHONY: benchmarks
benchmarks: ## Compare what the hot paths allocate with the baseline; times are printed, not judged
	@tools/benchmarks.sh compare

.PHONY: benchmarks-baseline
benchmarks-baseline: ## Write the baseline of benchmarks anew, when growth is meant or something got better
	@tools/benchmarks.sh baseline

.PHONY: e2e
e2e: prepare ## Tests on real components: containerd, runc, a control plane (root)
	@if [[ $$(id -u) -ne 0 ]]; then echo "the e2e tests need root: they make cgroups, mounts and network devices" >&2; exit 1; fi
	@$(GO) test -tags e2e -count=1 -p $(E2E_PARALLEL) -timeout 20m $(E2E)

.PHONY: conformance
conformance: prepare ## Upstream's e2e.test on a bed: LIST=node, monitoring, resize, storage; AGENT=kubelet, FOCUS=RE, SKIP=RE; minutes (root)
	@$(RUN) ./test/conformance/cmd/conformance --list '$(LIST)' --agent '$(AGENT)' --focus '$(FOCUS)' --skip '$(SKIP)' $(if $(UPDATE),--update)

.PHONY: load
load: prepare ## 1,000 log followers and 200 exec streams for two minutes, with figures (root)
	@$(GO) test -tags e2e -count=1 -timeout 20m -run '^TestLoad$$' -v ./test/nodeapi -args -load=2m

.PHONY: bench
bench: prepare ## Every figure of docs/performance.md beside the kubelet, A B A B (ROUNDS=5, OUT=DIR); an hour (root)
	@$(GO) test -tags e2e -count=1 -timeout 150m -run '^TestBench$$' -v ./test/bench -args -compare -rounds=$(ROUNDS) $(if $(OUT),-out='$(abspath $(OUT))' \
		|| failed=$$?; $(PLOT) '$(abspath $(OUT))/bench.json' '$(abspath $(OUT))'; exit $${failed:-0})

.PHONY: bench-plot
bench-plot: ## Draw what bench measured: OUT=DIR has bench.json and gets SVG and PNG
	@$(PLOT) '$(abspath $(OUT))/bench.json' '$(abspath $(OUT))'

.PHONY: bench-docs
bench-docs: ## Put what bench and bench-scale measured (OUT=DIR) into docs/performance.md, with its pictures
	@$(RUN) ./test/bench/cmd/benchdocs '$(OUT)' docs/performance.md
	@test ! -e '$(OUT)/bench.json' || $(PLOT) -formats svg '$(abspath $(OUT))/bench.json' '$(CURDIR)/docs/pictures'

.PHONY: bench-scale
bench-scale: ROUNDS = 1
bench-scale: prepare ## Both agents with 10 to 1,000 pods on a fake runtime, and how they grow (SIZES=10,110, ROUNDS=1, OUT=DIR); half an hour (root)
	@$(GO) test -tags e2e -count=1 -timeout 300m -run '^TestScale$$' -v ./test/bench -args -compare -rounds=$(ROUNDS) $(if $(SIZES),-sizes='$(SIZES)') $(if $(OUT),-out='$(abspath $(OUT))')

.PHONY: latency
latency: prepare ## How soon the API knows of exits and probes, beside the kubelet; 4 minutes (root)
	@$(GO) test -tags e2e -count=1 -timeout 15m -run '^TestLatency$$' -v ./test/bench -args -compare

.PHONY: probeload
probeload: prepare ## 200 containers with two probes each, beside the kubelet; 10 minutes (root)
	@$(GO) test -tags e2e -count=1 -timeout 25m -run '^TestProbeLoad$$' -v ./test/bench -args -compare -for=3m

.PHONY: chaos
chaos: prepare ## 100 kills of the agent under a mixed load (SEED=N repeats one); 12 minutes (root)
	@$(GO) test -tags e2e -count=1 -timeout 30m -run '^TestKills$$' -v ./test/chaos -args -kills=100 $(if $(SEED),-seed=$(SEED))

.PHONY: cridiff
cridiff: prepare ## What both agents ask the runtime for, for 243 pods, field by field; 2 minutes (root)
	@$(GO) test -tags e2e -count=1 -timeout 15m -v ./test/cridiff

.PHONY: certs
certs: prepare ## Ten rotations of certificates that live two minutes, under logs and exec (AGENT=kubelet); 15 minutes (root)
	@NODEAGENT_BED_AGENT='$(AGENT)' $(GO) test -tags e2e -count=1 -timeout 30m -v ./test/certificates -args -rotations=10

.PHONY: registry
registry: prepare ## Pulls from registries that refuse, fail and are slow (AGENT=kubelet); 3 minutes (root)
	@NODEAGENT_BED_AGENT='$(AGENT)' $(GO) test -tags e2e -count=1 -timeout 20m -bench . -benchtime 1x ./test/registry

.PHONY: volumediff
volumediff: prepare ## What containers see of volumes under both agents; 6 minutes (root)
	@$(GO) test -tags e2e -count=1 -timeout 20m -v ./test/volumediff

.PHONY: statsdiff
statsdiff: prepare ## What both agents tell monitoring, name by name, and values by the kernel's; 10 minutes (root)
	@$(GO) test -tags e2e -count=1 -timeout 30m -v ./test/statsdiff

.PHONY: scrapecost
scrapecost: prepare ## What being asked for figures costs with 110 pods, beside the kubelet; 25 minutes (root)
	@$(GO) test -tags e2e -count=1 -timeout 60m -v ./test/scrapecost

.PHONY: volumes
volumes: prepare ## Updates, attacks, a mount that hangs, 500 cycles with kills, with figures; half an hour (root)
	@$(GO) test -tags volumeload -count=1 -timeout 60m -run '^$$' -bench . -benchtime 1x -v ./test/volumes
	@$(GO) test -count=1 -timeout 10m ./internal/volume/content

.PHONY: logflood
logflood: prepare ## A container writes 200 MB/s for a minute (AGENT=kubelet); 3 minutes (root)
	@NODEAGENT_BED_AGENT='$(AGENT)' $(GO) test -tags e2e -count=1 -timeout 15m -run '^TestFlood$$' -v ./test/logs -args -flood=1m -rate=200000000

.PHONY: test-vm
test-vm: prepare ## cgroup v2, systemd and reboots in a virtual machine, beside the kubelet (AGENTS=nodeagent); 45 minutes (root)
	@$(GO) test -tags vm -count=1 -timeout 180m -v ./test/vm -args -agents='$(AGENTS)'

.PHONY: vuln
vuln: ## Known vulnerabilities in what the product calls; needs vuln.go.dev
	@tools/govulncheck.sh

.PHONY: torture
torture: ## 100,000 histories from a random seed (SEED=N repeats one); minutes
	@PLAN=$(TORTURE_PLAN) SIM=$(TORTURE_SIM) SEED='$(SEED)' tools/torture.sh

.PHONY: fuzz
fuzz: ## Every fuzz test for FUZZ_TIME (10s)
	@grep -rno --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' cmd internal test | sed 's/:[0-9]*:func / /' | while read -r file name; do \
		echo "== $$name ($${file%/*})"; \
		$(GO) test "./$${file%/*}" -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZ_TIME); \
	done

##@ Beds: nodes to try things on

.PHONY: bed-up
bed-up: prepare ## Start a cluster of one node (AGENT=kubelet to compare, NAME=bed)
	@echo "Compiling the command (minutes the first time) ..."
	@$(BED) up --name $(NAME) --agent $(AGENT)

.PHONY: bed-down
bed-down: ## Stop it (NAME=bed)
	@$(BED) down --name $(NAME)

# What the other targets need beside Go; silent when it is there.
.PHONY: prepare
prepare:
	@tools/prepare.sh
