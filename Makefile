# Every command a developer needs. `make` alone lists them.
# SwiftPM is run once per configuration: debug for tests and the demo, release (in packaging/) for the .deb.

SWIFT_BUILD := swift build --build-tests
# One test after the other: many wait on threads and sockets, and in parallel they starve each other on two cores.
SWIFT_TEST := swift test --skip-build --no-parallel

.DEFAULT_GOAL := help
.PHONY: help setup build lint unit check integration test demo sim soak cuts rotations evaluate audit-cost scale fuzz bench deb system-test clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what is missing: Debian packages and the Python environment of the tests
	@scripts/setup

build: ## debug build of the program and all tests; warnings are errors
	$(SWIFT_BUILD)

lint: ## check the format of every Swift source
	swift format lint --strict --parallel --recursive Package.swift Sources Tests Benchmarks Fuzz

unit: build ## unit, tidiness and short simulation tests
	$(SWIFT_TEST)

check: lint unit ## what must pass before a commit: lint, build, unit, tidiness, short simulation

integration: build ## three real tiers against independent clients (Tests/Integration); IO=epoll for that driver
	MESHRELAY_IO=$(IO) Tests/Integration/run

test: ## install what is missing, then every test there is
	@$(MAKE) --no-print-directory setup
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory integration

demo: ## three tiers, two clusters, a change and a removal, narrated; needs nothing installed
	@scripts/demo

sim: build ## replay one simulation or run many: make sim SEED=42, make sim SEEDS=200
	MESHRELAY_SEED=$(SEED) MESHRELAY_SEEDS=$(SEEDS) $(SWIFT_TEST) --filter SimulationTests

soak: build ## five tiers and kill -9, a thousand times: make soak KILLS=1000 SEED=7
	MESHRELAY_KILLS=$(or $(KILLS),1000) MESHRELAY_SEED=$(or $(SEED),7) Tests/Integration/run -k five_tiers

cuts: build ## links between tiers cut at random, many times; needs root: make cuts TIMES=200 SEED=11
	MESHRELAY_CUTS=$(or $(TIMES),200) MESHRELAY_SEED=$(or $(SEED),11) Tests/Integration/run -k come_and_go

rotations: build ## our own SVID renewed under load, a thousand times: make rotations TIMES=1000
	MESHRELAY_ROTATIONS=$(or $(TIMES),1000) Tests/Integration/run -k test_rotation_under_load

evaluate: build ## compare policy evaluation with the reference evaluator, 60,000 random cases a seed: make evaluate SEEDS=100
	MESHRELAY_SEED=$(SEED) MESHRELAY_SEEDS=$(SEEDS) $(SWIFT_TEST) --filter PolicyTests.EvaluationTests

audit-cost: ## measure what the audit costs a push (release build, then some minutes): make audit-cost ARGS="--clients 200"
	@scripts/measure-audit $(ARGS)

scale: build ## count what a change costs with 1,000 clusters and 60,000 objects
	MESHRELAY_SCALE=full $(SWIFT_TEST) --filter "GatesTests.ScaleTests|OriginsTests.MentionTests"

fuzz: ## fuzz one target for a while: make fuzz TARGET=HTTP2 SECONDS=60
	@Fuzz/run "$(TARGET)" "$(or $(SECONDS),60)"

bench: ## an echo through the event loop asks nothing of the Swift runtime (callgrind, release build)
	@scripts/setup bench
	@scripts/check-hot-path

deb: ## build the Debian package into dist/
	@packaging/build-deb

system-test: ## install, run, reload, upgrade and purge the package on a booted systemd host
	@scripts/system-test

clean: ## remove what builds and tests left behind
	rm -rf .build .build-* Fuzz/.build dist Tests/Integration/.venv
