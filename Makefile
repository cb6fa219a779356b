# Everything runs in .venv, which each target creates if needed; all it takes is Python 3.11 or newer.
# `check` and `contract` also use Node (pyright, a mock server, a linter): package.json pins them.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

# The first of these that runs and is new enough. Only searched to create an environment, and only once,
# because a pyenv shim takes a second to report that a version is missing.
PYTHONS := python3.11 python3.12 python3.13 python3 python
PYTHON ?= $(eval PYTHON := $(info Looking for Python 3.11 or newer)$(shell for name in $(PYTHONS); do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; \
	done))$(PYTHON)
VENV := .venv
BIN := $(VENV)/bin
NODE_BIN := node_modules/.bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer was found; name one: make PYTHON=/path/to/python"; exit 1; }
	@echo "Creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv --clear $(VENV)

# Two sets of pins in one environment; dev contains all of demo, at the same versions.
$(VENV)/demo.stamp: requirements/demo.txt pyproject.toml | $(BIN)/python
	@echo "Installing requirements/demo.txt"
	@$(PIP) install --require-hashes -r requirements/demo.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/demo.stamp
	@echo "Installing requirements/dev.txt"
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

node_modules/stamp: package.json package-lock.json
	@command -v npm >/dev/null || { echo "This needs Node 20.19 or newer, with npm."; exit 1; }
	@echo "Installing package-lock.json"
	@npm ci --ignore-scripts --no-fund --no-audit --loglevel=error
	@touch $@

.PHONY: demo
demo: $(VENV)/demo.stamp ## Watch one simulated job of each service until it finishes
	@$(BIN)/opwatch demo

.PHONY: test
test: $(VENV)/dev.stamp ## Run every test but the slow ones
	@$(BIN)/python -m compileall -q src generated tests  # once, not in each process
	$(BIN)/python -m pytest -n auto --dist worksteal

.PHONY: test-slow
test-slow: $(VENV)/dev.stamp ## Run the slow tests: large counts, and many random cases
	$(BIN)/python -m pytest -n auto --dist worksteal -m "slow or hypothesis" --hypothesis-profile=slow --hypothesis-seed=0 --timeout=1800

.PHONY: fuzz
fuzz: fuzz-properties fuzz-readers ## Search for inputs that break opwatch (the next two)

.PHONY: fuzz-properties
fuzz-properties: $(VENV)/dev.stamp ## Try each property test with thousands of examples
	OPWATCH_FUZZ=10000 $(BIN)/python -m pytest -n auto -m hypothesis --hypothesis-profile=fuzz --timeout=3600

.PHONY: nox
nox: $(VENV)/dev.stamp ## Run every test of the built wheel on Python 3.11, 3.12 and 3.13
	$(BIN)/nox

.PHONY: check
check: style types layers wheel ## Check what tests don't: style, types, layers, wheel; needs Node

.PHONY: style
style: $(VENV)/dev.stamp ## Check lint and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

.PHONY: types
types: $(VENV)/dev.stamp node_modules/stamp ## Check types, with mypy and pyright
	$(BIN)/mypy
	$(BIN)/mypy tools noxfile.py
	$(BIN)/mypy benchmarks
	$(BIN)/python -m pytest -q -m typing tests/docs tests/examples tests/generating
	$(NODE_BIN)/pyright --pythonpath $(BIN)/python

.PHONY: layers
layers: $(VENV)/dev.stamp ## Check that each file imports only from the layers below it
	$(BIN)/lint-imports --no-cache --no-logo

.PHONY: wheel
wheel: $(VENV)/dev.stamp node_modules/stamp ## Build into dist/, and use the wheel as a new user would
	$(BIN)/python tools/check_wheel.py

# A real identity service, for `contract`.
$(VENV)-keystone/keystone.stamp: requirements/keystone.txt | $(BIN)/python
	@echo "Installing $<"
	@$(BIN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r $<
	@touch $@

.PHONY: contract
contract: $(VENV)/dev.stamp $(VENV)-keystone/keystone.stamp node_modules/stamp ## Call real servers and a mock of specs/, and let Catenis's client call the simulator; needs Node
	REDOCLY_TELEMETRY=off REDOCLY_SUPPRESS_UPDATE_NOTICE=true $(NODE_BIN)/redocly lint specs/*.yaml
	$(BIN)/python -m pytest -m contract tests/contract

.PHONY: contract-outside
contract-outside: $(VENV)/dev.stamp $(VENV)-outside/engine.stamp ## Check the simulator with other projects' clients and a tester made of specs/
	$(BIN)/python -m pytest -m outside tests/contract

.PHONY: contract-pygeoapi
contract-pygeoapi: $(VENV)/dev.stamp $(VENV)-pygeoapi/engine.stamp ## Watch the jobs of a real pygeoapi, from a spec alone
	$(BIN)/python -m pytest -m pygeoapi tests/contract

$(VENV)-docs/docs.stamp: requirements/docs.txt | $(BIN)/python
	@echo "Installing requirements/docs.txt"
	@$(BIN)/python -m venv $(VENV)-docs
	@$(VENV)-docs/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/docs.txt
	@touch $@

.PHONY: docs
docs: $(VENV)-docs/docs.stamp ## Build the documentation into site/, and check that it loads nothing from elsewhere
	NO_MKDOCS_2_WARNING=1 $(VENV)-docs/bin/mkdocs build --strict --clean --quiet
	$(VENV)-docs/bin/python tools/check_site.py site

# Airflow, Celery, pygeoapi, and the peers of the benchmarks, each in its own environment.
$(VENV)-%/engine.stamp: requirements/%.txt pyproject.toml | $(BIN)/python
	@echo "Installing $<"
	@$(BIN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r $<
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --no-build-isolation -e .
	@touch $@

.PHONY: engines
engines: $(VENV)-airflow/engine.stamp $(VENV)-celery/engine.stamp ## Wait in Airflow and in Celery, and kill them midway; needs redis-server
	OPWATCH_ENGINE=airflow $(VENV)-airflow/bin/python -m pytest tests/engines
	OPWATCH_ENGINE=celery $(VENV)-celery/bin/python -m pytest tests/engines/test_celery.py

.PHONY: fuzz-readers
fuzz-readers: $(VENV)-fuzz/engine.stamp ## Fuzz the code that reads responses for five minutes
	$(VENV)-fuzz/bin/python tests/fuzz/fuzz_readers.py -max_total_time=300 -timeout=30 -artifact_prefix=$(VENV)-fuzz/

# opwatch as users install it, with only its dependencies.
$(VENV)-core/core.stamp: requirements/core.txt $(VENV)/dev.stamp $(shell find src generated -name '*.py')
	@echo "Installing requirements/core.txt"
	@$(BIN)/python -m venv --clear $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r $<
	@$(BIN)/python -m build --no-isolation --wheel --outdir $(@D)/wheel . >/dev/null
	@$(@D)/bin/python -m pip --disable-pip-version-check --quiet install --no-deps --no-index $(@D)/wheel/*.whl
	@touch $@

.PHONY: bench
bench: $(VENV)/dev.stamp $(VENV)-bench/engine.stamp $(VENV)-core/core.stamp ## Compare opwatch with other clients, and write docs/benchmarks.md
	$(BIN)/python benchmarks/run.py --peers $(VENV)-bench/bin/python --core $(VENV)-core/bin/python

.PHONY: validate
validate: $(VENV)/dev.stamp ## Check specs/: structure, examples, and our own rules
	$(BIN)/python tools/specs.py validate

.PHONY: generate
generate: $(VENV)/dev.stamp ## Validate specs/, and write generated/ from specs/
	$(BIN)/python tools/specs.py generate

.PHONY: check-generated
check-generated: $(VENV)/dev.stamp ## Validate specs/, and fail if generated/ doesn't match specs/
	$(BIN)/python tools/specs.py check

.PHONY: lock
lock: $(VENV)/dev.stamp ## Recompile requirements/*.txt
	$(BIN)/python tools/lock.py

.PHONY: clean
clean: ## Remove what the other targets created
	rm -rf $(VENV) $(VENV)-* node_modules build dist site .nox .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
