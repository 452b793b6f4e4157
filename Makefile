# Everything a contributor runs. Needs make and Python 3.11+ (or uv, which brings its own Python).
# Variables: PYTHON=python3.13 picks the interpreter of a new .venv; COVERAGE=1 measures `make test`;
# PYTEST_FLAGS="-k history -x" goes to pytest, in place of one worker per core.

.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PEERS := .venv-peers
PYTHONS := $(or $(PYTHON),python3.14 python3.13 python3.12 python3.11 python3)
UV := $(shell command -v uv 2>/dev/null)
# A few tests at a time: who took many at once would end long after the others.
PYTEST_FLAGS ?= --numprocesses=auto --maxschedchunk=8
PYTEST := $(if $(COVERAGE),$(BIN)/coverage run $(BIN)/pytest,$(BIN)/pytest)

.PHONY: help setup services demo test soak coverage check lint types mypy pyright format wheel peers figures clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(STAMP) ## Make .venv with everything in it (the other targets do it when needed)
	@:

services: $(STAMP) ## Fetch the servers that tests use, into a cache outside the project (once)
	@$(BIN)/python -m ialstore.testing.servers fetch

demo: $(STAMP) ## Run the demo on SQLite
	@$(BIN)/ialstore demo

test: $(STAMP) ## Run the tests
	@$(if $(COVERAGE),$(BIN)/coverage erase)
	@$(PYTEST) $(PYTEST_FLAGS)
	@$(if $(COVERAGE),$(BIN)/coverage combine --quiet && $(BIN)/coverage report)

soak: $(STAMP) ## Run the tests with many more examples, for a night
	@IALSTORE_PROFILE=thorough $(MAKE) --no-print-directory test

coverage: ## Run the tests and show the lines they miss
	@$(MAKE) --no-print-directory test COVERAGE=1

check: lint types wheel ## Run the linters and the type checkers, and look into the wheel
	$(BIN)/check-wheel-contents dist

lint: $(STAMP) ## Run ruff
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --quiet --check .

types: mypy pyright ## Run mypy and pyright

mypy pyright: $(STAMP)
	$(BIN)/$@

format: $(STAMP) ## Format the code and mend what ruff can mend
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

wheel: $(STAMP) ## Build the source distribution, and from it the wheel, into dist/
	@rm -rf dist
	@$(BIN)/python -m build -qq $(if $(UV),--installer uv)
	@ls dist/*

peers: $(PEERS)/.installed ## Measure other libraries' stores beside ours, in .venv-peers
	@$(PEERS)/bin/python benchmarks/peers.py

figures: $(STAMP) ## Write what benchmarks found (benchmarks/results) into the documents
	@$(BIN)/python benchmarks/figures.py

clean: ## Remove everything made here, .venv included
	@rm -rf $(VENV) $(PEERS) build dist htmlcov ialstore-demo.db* .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(PEERS)/.installed: pyproject.toml $(STAMP)
	@echo "Setting up $(PEERS)"
	@rm -rf $(PEERS) && $(BIN)/python -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --group peers --editable .
	@touch $@

# Set-up runs again when what it installs has changed.
ifneq ($(UV),)

$(STAMP): pyproject.toml ialstore/_version.py
	@echo "Setting up $(VENV) with uv"
	@$(BIN)/python -c '' 2>/dev/null || { rm -rf $(VENV) && uv venv --quiet $(if $(PYTHON),--python "$(PYTHON)") $(VENV); }
	@uv pip install --quiet --python $(BIN)/python --group dev --editable .
	@touch $@

else

$(STAMP): pyproject.toml ialstore/_version.py
	@echo "Setting up $(VENV) (about half a minute, once)"
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { \
	  rm -rf $(VENV); \
	  for python in $(PYTHONS); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	      exec "$$python" -m venv $(VENV); \
	    fi; \
	  done; \
	  echo "ialstore needs Python 3.11 or newer; looked for $(PYTHONS). Install one, or name it: make PYTHON=/path/to/python3" >&2; \
	  exit 1; \
	}
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' # older ones don't know --group
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev --editable .
	@touch $@

endif
