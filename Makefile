# The two commands: `make demo` and `make test`. Both set up what they need, and only that.
# NBSEAL_HOME is where runs and images go; without it, your own data directory.

SHELL := /bin/sh
PYTHON := .venv/bin/python
ENGINE_TESTS := $(PYTHON) -m pytest -q tests/engine

.NOTPARALLEL:

.PHONY: help setup demo test test-engines lint unit engine bench corpus determinism fuzz chaos docs clean

help: ## say what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: ## virtual environment, container engine, base image
	@scripts/setup

demo: setup ## run the examples, and one of them again from its record
	@scripts/demo

test: lint ## everything that must pass
	@scripts/setup tests
	@$(PYTHON) -m pytest -q --numprocesses=auto tests/unit
	@$(ENGINE_TESTS)

test-engines: ## the tests about engines against several of them: make test-engines ENGINES="docker-sid podman"
	@scripts/setup engines
	@$(PYTHON) -m scripts.test_engines $(ENGINES)

lint: ## style, types, the direction of imports
	@scripts/setup python
	@$(PYTHON) -m ruff check --quiet .
	@$(PYTHON) -m ruff format --quiet --check .
	@$(PYTHON) -m mypy --no-error-summary
	@.venv/bin/lint-imports --no-logo >/dev/null || .venv/bin/lint-imports

unit: ## tests that start no process
	@scripts/setup python
	@$(PYTHON) -m pytest -q --numprocesses=auto tests/unit

engine: ## tests against the real container engine
	@scripts/setup tests
	@$(ENGINE_TESTS)

bench: setup ## measure: warm run, --help, image build, fsck, archive, image to a host; prints ratios
	@scripts/setup tests
	@$(PYTHON) -m benchmarks

corpus: setup ## run every notebook of CORPUS/index.csv: make corpus CORPUS=DIR
	@test -n "$(CORPUS)" || { echo "error: say which corpus: make corpus CORPUS=DIR" >&2; exit 2; }
	@$(PYTHON) -m scripts.corpus "$(CORPUS)"

determinism: setup ## measure what --deterministic brings: make determinism CORPUS=DIR
	@test -n "$(CORPUS)" || { echo "error: say which corpus: make determinism CORPUS=DIR" >&2; exit 2; }
	@$(PYTHON) -m scripts.determinism "$(CORPUS)"

fuzz: ## import archives changed at random: make fuzz MINUTES=30
	@scripts/setup python
	@$(PYTHON) -m tests.fuzz.imports $(or $(MINUTES),1)

chaos: ## break the way to another machine in each stage, at random: make chaos COUNT=20
	@scripts/setup tests
	@$(PYTHON) -m scripts.chaos --count $(or $(COUNT),20)

docs: ## write docs/reference/cli.md anew from the program's own --help
	@scripts/setup python
	@$(PYTHON) -m scripts.cli_reference > docs/reference/cli.md

clean: ## remove what was built in the checkout; the home stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build
