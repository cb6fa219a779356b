# Everything runs in .venv, which each target makes for itself: Python 3.11 or newer and make suffice.
# `check` and `contract` also use Node (pyright, a mock server): package.json pins both.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash -eu -o pipefail

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "opwatch needs Python 3.11 or newer; say which: make PYTHON=/path/to/python")'
	@$(PYTHON) -m venv $(VENV)

# Two sets of pins in one environment; dev holds all of demo, at the same versions.
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
	@npm ci --silent --no-fund --no-audit
	@touch $@

.PHONY: demo
demo: $(VENV)/demo.stamp ## Watch one simulated job of each service to its end
	@$(BIN)/opwatch demo

.PHONY: test
test: $(VENV)/dev.stamp ## Run every test
	$(BIN)/python -m pytest -n auto

.PHONY: validate
validate: $(VENV)/dev.stamp ## Check specs/: structure, examples, and our own rules
	$(BIN)/python tools/specs.py validate

.PHONY: generate
generate: validate ## Write generated/ from specs/
	$(BIN)/python tools/specs.py generate

.PHONY: check-generated
check-generated: $(VENV)/dev.stamp ## Fail if generated/ is not what specs/ gives
	$(BIN)/python tools/specs.py check

.PHONY: lock
lock: $(VENV)/dev.stamp ## Compile requirements/*.txt anew
	$(BIN)/python tools/lock.py

.PHONY: clean
clean: ## Remove what the other targets made
	rm -rf $(VENV) node_modules build dist site .nox .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
