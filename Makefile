# AxonML: every command a developer or a first-time user needs. `make help` lists them.
#
# The environment lives in .venv. Three stamp files say what has been installed into it (what the server
# needs; what the examples add; what the tests add), so a target that finds its stamp newer than
# pyproject.toml and constraints.txt starts at once.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3,$(shell command -v $(p) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
RUN_STAMP := $(VENV)/.ready-run
EXAMPLES_STAMP := $(VENV)/.ready-examples
DEV_STAMP := $(VENV)/.ready-dev
PEERS := benchmarks/.venv
PEERS_STAMP := $(PEERS)/.ready
LOCK := pyproject.toml constraints.txt

PACKAGES := server schema resolvers domain persistence serving execution migrations

# Workers of the test run. Tests wait for processes about half of their time, so two for each of two cores pay;
# idle workers take over what is queued elsewhere, because a few tests take as long as hundreds of others.
TEST_WORKERS ?= 4
DISTRIBUTION := -n $(TEST_WORKERS) --dist worksteal
# Extra arguments for pytest, e.g. `make test PYTEST="tests/unit -x"`.
PYTEST ?=
# Arguments of the benchmarks, e.g. `make bench BENCH=--quick`.
BENCH ?=

.PHONY: help
help: ## Show this list
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  \033[36m%-12s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(RUN_STAMP) ## Prepare .venv with everything the server needs

.PHONY: run
run: $(RUN_STAMP) ## Start the server in the foreground (HOST=, PORT=, ARGS=)
	@exec $(BIN)/axonml-server $(if $(HOST),--host $(HOST)) $(if $(PORT),--port $(PORT)) $(ARGS)

.PHONY: demo
demo: $(EXAMPLES_STAMP) ## Train, log, register, deploy and predict against a temporary server
	@exec $(BIN)/python examples/demo.py

.PHONY: check
check: $(DEV_STAMP) ## Formatting, lint, types, import contracts and insecure code, without the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit -q -c pyproject.toml -ll -r $(PACKAGES)

.PHONY: test
test: check ## Everything `check` does, then the tests; an unexpected skip fails
	$(BIN)/python -m pytest $(DISTRIBUTION) -q -m "not full" $(PYTEST)

.PHONY: test-full
test-full: check ## Everything `test` does, and the tests that need more than the package registries give
	$(BIN)/python -m pytest $(DISTRIBUTION) -q $(PYTEST)

.PHONY: fmt
fmt: $(DEV_STAMP) ## Format the code and apply the safe lint fixes
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: migration
migration: $(DEV_STAMP) ## Write a migration from the declared tables (name=what_changed); needs no database
	@test -n "$(name)" || { echo "say what changes: make migration name=add_run_color" >&2; exit 2; }
	@$(BIN)/python -m persistence.migrate new "$(name)"

.PHONY: bench
bench: $(RUN_STAMP) $(PEERS_STAMP) ## Measure AxonML and MLflow side by side (BENCH="--quick"); MLflow gets its own .venv
	@exec $(BIN)/python -m benchmarks $(BENCH)

.PHONY: clean
clean: ## Remove .venv and every cache; data directories are left alone
	rm -rf $(VENV) $(PEERS) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; none was found on PATH (set PYTHON=)" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) -V) (set PYTHON=)" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "$(PYTHON) lacks venv (on Debian and Ubuntu: apt install python3-venv)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(RUN_STAMP): $(LOCK) | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e .
	@touch $@

$(EXAMPLES_STAMP): $(LOCK) | $(RUN_STAMP)
	$(PIP) install --quiet -c constraints.txt -e '.[examples]'
	@touch $@

# What AxonML is measured against, apart from our own environment and never pinned: the newest there is.
$(PEERS_STAMP): benchmarks/requirements.txt | $(BIN)/python
	$(BIN)/python -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check --no-input install --quiet --upgrade -r $<
	@touch $@

# One pip run brings everything, so a machine that only tests does not pay for three.
$(DEV_STAMP): $(LOCK) | $(BIN)/python
	$(PIP) install --quiet -c constraints.txt -e '.[dev]'
	@touch $(RUN_STAMP) $(EXAMPLES_STAMP) $@
