# Sendlog: `make run` starts everything with a demo, `make test` proves it. Both set themselves up.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready
DEPLOY_LOCK := deploy/requirements.lock
BENCH_LOCK := tests/benchmarks/peers/requirements.lock
SUPPLY := $(VENV)/supply
SUPPLY_READY := $(SUPPLY)/.ready
SUPPLY_LOCK := deploy/supply/requirements.lock
BROWSER_READY := $(VENV)/.browser-ready

.DEFAULT_GOAL := help

.PHONY: help
help:  ## Show what there is to make
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  \033[1m%-13s\033[0m %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Redone only when what it is made of has changed.
$(READY): requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing what requirements.lock names (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

.PHONY: setup
setup: $(READY)  ## Make .venv from requirements.lock

.PHONY: run
run: setup  ## Start Kafka, ClickHouse, a worker, the pages and the demo; Ctrl-C stops
	@exec $(BIN)/sendlog up --demo

# A Chromium of the system will do; without one it is installed.
$(BROWSER_READY): $(READY) tests/browser/chromium.py
	@$(BIN)/python -m tests.browser.chromium
	@touch $(BROWSER_READY)

.PHONY: setup-browser
setup-browser: $(BROWSER_READY)  ## See that there is a browser for the tests of the pages

.PHONY: setup-promtool
setup-promtool: setup  ## See that there is Prometheus' tool for the tests of the alert rules
	@$(BIN)/python -m tests.promtool

.PHONY: setup-helm
setup-helm: setup  ## See that there is Helm for the tests of the chart
	@$(BIN)/python -m tests.helm

# Tests on a real broker wait more than they work, so files of them share the cores by two. Each
# process starts servers of its own.
.PHONY: test
test: setup setup-browser setup-promtool setup-helm check  ## Run everything: checks, then all tests on real Kafka and the real ClickHouse
	@$(BIN)/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: test-faults
test-faults: setup  ## A long run of faults under load, checked in full; ARGS="--help" lists what
	@$(BIN)/python -m tests.faults $(ARGS)

.PHONY: test-hostile
test-hostile: setup  ## A good client beside hostile ones: what it loses; ARGS="--help" lists what
	@$(BIN)/python -m tests.hostile $(ARGS)

.PHONY: test-mutants
test-mutants: setup  ## Change the code in 200 small places, and list what no test notices
	@$(BIN)/python -m tests.mutants $(ARGS)

.PHONY: fuzz
fuzz: setup  ## Ask all parsers with spoiled inputs for some minutes; ARGS="--count N --seed S"
	@$(BIN)/python -W ignore -m tests.fuzz $(ARGS)

# What somebody has who installs without the lock.
NEWEST := $(VENV)/newest
.PHONY: test-newest
test-newest: setup-browser setup-promtool setup-helm  ## Run all tests with the newest versions of what pyproject.toml names
	@rm -rf $(NEWEST) && $(PYTHON) -m venv $(NEWEST)
	@$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@$(NEWEST)/bin/python -m pip install --quiet --editable . --group test --group lint
	@$(NEWEST)/bin/python -m pytest -m "not slow" --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: test-engines
test-engines: setup  ## DDL, folds, pages and example queries on every supported version of ClickHouse
	@$(BIN)/python -m tests.engines $(ARGS)

.PHONY: check
check: setup  ## Lint, format, types, import rules, exported contracts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/sendlog schemas export --check

.PHONY: format
format: setup  ## Format, and mend what lint can mend
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

# What the benchmarks need beside: peers, their client, charts. Only `make bench` installs it.
# --no-deps: the lock is complete, and pyproject.toml says where it overrides what a peer asks for.
$(BENCH_READY): $(READY) $(BENCH_LOCK)
	@echo "installing what $(BENCH_LOCK) names (once)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r $(BENCH_LOCK)
	@touch $(BENCH_READY)

.PHONY: bench
bench: $(BENCH_READY)  ## Measure on this machine, beside stock Faust and peers; ARGS="--help" lists what
	@$(BIN)/python -m tests.benchmarks $(ARGS)

.PHONY: locales
locales: setup  ## Bring the languages of the pages up to date; ARGS="fr" begins one
	@$(BIN)/python -m projections.web.catalogue $(ARGS)

# In an environment of their own: what they need is none of what is deployed or tested.
$(SUPPLY_READY): $(SUPPLY_LOCK)
	@rm -rf $(SUPPLY) && $(PYTHON) -m venv $(SUPPLY)
	@$(SUPPLY)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(SUPPLY_LOCK)
	@touch $(SUPPLY_READY)

.PHONY: sbom
sbom: $(SUPPLY_READY)  ## Write dist/sendlog.cdx.json: what is deployed, and Kafka's jars (CycloneDX)
	@mkdir -p dist
	@$(SUPPLY)/bin/python -W ignore deploy/supply/sbom.py $(SUPPLY)/bin/python dist/sendlog.cdx.json

.PHONY: audit
audit: $(SUPPLY_READY)  ## Look up known vulnerabilities of both locks; fails if it cannot
	@$(SUPPLY)/bin/python deploy/supply/audit.py $(SUPPLY)/bin/pip-audit

.PHONY: lock
lock: setup  ## Renew all locks from pyproject.toml: of development, deployment, benchmarks
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile pyproject.toml --all-extras --group test --group lint --group build \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --output-file requirements.lock
	@$(BIN)/uv pip compile pyproject.toml --constraints requirements.lock \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --output-file $(DEPLOY_LOCK)
	@$(BIN)/uv pip compile pyproject.toml --group bench --constraints requirements.lock \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --output-file $(BENCH_LOCK)
	@$(BIN)/uv pip compile --group supply \
	  --python-version 3.11 --generate-hashes --no-emit-index-url --quiet --output-file $(SUPPLY_LOCK)

.PHONY: wheel
wheel: setup  ## Build the wheel into dist/, for an image or `pipx install`
	@rm -rf dist
	@$(BIN)/python -m hatchling build -t wheel

.PHONY: clean
clean:  ## Remove what was made, but not the data of the local stack
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage* bench-results
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
