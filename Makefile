# The whole interface of this repository. Each target starts from a bare Debian machine with cargo on it, installs
# what is missing, and leaves nothing running (but `make up`).

SHELL := bash
.DEFAULT_GOAL := help
export CARGO_TARGET_DIR ?= $(HOME)/.cache/nuncio/target

.PHONY: help demo test check bench soak fuzz screenshots release sbom up down

help: ## List the targets
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## The whole pipeline on this machine: six changes published, delivered, retried, shown
	@deploy/local/demo.sh

test: ## The whole test suite, on private servers
	@deploy/local/test.sh

check: ## Format, lints, dependency audit, docs, shell scripts
	@deploy/local/check.sh

bench: ## The benchmark: one table
	@deploy/local/bench.sh

soak: ## Faults at random while a load runs, then what was lost: MINUTES=10 SEED=… RATE=50
	@deploy/local/soak.sh

fuzz: ## A million generated URLs against the guard (NUNCIO_FUZZ_CASES for another number)
	@deploy/local/fuzz.sh

screenshots: ## Pictures of every page of the portal and the console, looked at by axe-core too
	@deploy/local/screenshots.sh

release: ## Binary, manual pages, completions, bill of materials and checksums, in dist/
	@deploy/local/release.sh

sbom: ## The bill of materials alone, CycloneDX, in dist/
	@deploy/local/release.sh sbom

up: ## Private servers and `nuncio all`, kept running in the background
	@deploy/local/up.sh

down: ## Stop what `make up` started; its data stays in .nuncio/
	@deploy/local/down.sh
