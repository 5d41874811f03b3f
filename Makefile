# `make quickstart` and `make test` are each meant to be the first command in a fresh clone.
# Needs Python 3.11 to 3.13 and make; everything else is installed into .venv from requirements/dev.lock.

PYTHON ?=
UV ?= uv
VENV := .venv
BIN := $(VENV)/bin
LOCK := requirements/dev.lock
DOCS_LOCK := requirements/docs.lock
# Inside the environment, so that both are made anew together; apart from its packages, which are those of dev.lock.
DOCS_TOOLS := $(VENV)/docs-tools-$(shell cksum < $(DOCS_LOCK) | tr ' ' '-')
# The path is part of the key because scripts inside a virtual environment hold it: a moved clone is installed again.
KEY := $(shell (pwd; cat $(LOCK) pyproject.toml; grep '^__version__' gailfe_jax/__init__.py) | cksum | tr ' \t' '--')
STAMP := $(VENV)/.installed-$(KEY)
PYTEST_WORKERS ?= 2
PYTEST_ARGS ?=
# For example: newest
VERSIONS ?=
# For example: --metrics --compare before.json
PROGRAMS_ARGS ?=
# For example: --only gailfe --kills 20, or --only 'command line' --input 7
SOAK_ARGS ?=
FUZZ_ARGS ?=
# A file's tests stay in one worker, so that its fixtures are made once.
PYTEST = $(BIN)/python -m pytest -q -n $(PYTEST_WORKERS) --dist loadfile --max-worker-restart 0

.DEFAULT_GOAL := help
.PHONY: help install quickstart test test-all test-slow test-durations test-versions coverage programs soak fuzz lint format docs lock clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(STAMP) ## make .venv from the lock file (done by the other targets as needed)
	@echo "'. $(BIN)/activate' makes gailfe a command of this shell"

quickstart: $(STAMP) ## clone 4 thinned demonstrations beside GAIL and GAILFE; table, picture and films in quickstart/
	@$(BIN)/gailfe quickstart

test: lint ## lint, type-check and run the tests that are not slow
	@$(PYTEST) -m "not slow" $(PYTEST_ARGS)

test-all: lint ## lint, type-check and run all tests
	@$(PYTEST) $(PYTEST_ARGS)

test-slow: lint ## run what `make test` leaves out, and at full optimisation the tests of last bits
	@$(PYTEST) -m "slow and not exact" $(PYTEST_ARGS)
	@$(PYTEST) -m exact $(PYTEST_ARGS)

test-durations: $(STAMP) ## run what `make test` runs and print the 40 slowest
	@$(PYTEST) -m "not slow" --durations=40 --durations-min=0 $(PYTEST_ARGS)

test-versions: ## run some tests with the oldest and newest JAX and with Warp (VERSIONS=newest for one of them)
	@$(or $(PYTHON),python3) tests/versions.py $(VERSIONS)

coverage: $(STAMP) ## run what `make test` runs and fail if it covers too little of the package
	@$(PYTEST) -m "not slow" --cov --cov-report=term $(PYTEST_ARGS)

programs: $(STAMP) ## hash every method's program, to show that a change changes nothing
	@$(BIN)/python benchmarks/programs.py $(PROGRAMS_ARGS)

soak: $(STAMP) ## kill, damage and starve runs for a quarter of an hour; each must end as docs/reliability.md promises
	@$(BIN)/python -m benchmarks.soak --out benchmarks/results/soak.json $(SOAK_ARGS)

fuzz: $(STAMP) ## change thousands of inputs for some minutes; each must be valid or refused in one line
	@$(BIN)/python -m benchmarks.fuzz --out benchmarks/results/fuzz.json $(FUZZ_ARGS)

lint: $(STAMP) ## ruff and pyright
	@$(BIN)/python -m ruff check --quiet .
	@$(BIN)/python -m ruff format --check --quiet . || { echo "run 'make format'" >&2; exit 1; }
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/python -m pyright --warnings

format: $(STAMP) ## sort imports and format the code
	@$(BIN)/python -m ruff check --quiet --select I --fix .
	@$(BIN)/python -m ruff format --quiet .

docs: $(STAMP) $(DOCS_TOOLS) ## build the site into build/docs (opens without a server)
	@PYTHONPATH=$(DOCS_TOOLS) $(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet -d build/doctrees docs build/docs
	@echo "wrote build/docs/index.html"

lock: ## resolve requirements/dev.lock and docs.lock anew (needs uv)
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/" >&2; exit 1; }
	@env -u UV_FIND_LINKS -u UV_INDEX -u UV_EXTRA_INDEX_URL -u UV_INDEX_URL -u UV_DEFAULT_INDEX \
	  $(UV) pip compile pyproject.toml --extra dev --constraint requirements/pins.txt --upgrade \
	  --universal --python-version 3.11 --fork-strategy fewest --only-binary :all: --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet -o $(LOCK)
	@$(or $(PYTHON),python3) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' | \
	  env -u UV_FIND_LINKS -u UV_INDEX -u UV_EXTRA_INDEX_URL -u UV_INDEX_URL -u UV_DEFAULT_INDEX \
	  $(UV) pip compile - --upgrade \
	  --universal --python-version 3.11 --fork-strategy fewest --only-binary :all: --generate-hashes \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command "make lock" --quiet -o $(DOCS_LOCK)

clean: ## remove .venv, caches and build products
	@rm -rf $(VENV) .pytest_cache .ruff_cache .coverage .coverage.* build dist *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# An environment that works is updated in place, one that does not (half made, or its Python is gone) is made anew.
$(STAMP):
	@set -e; \
	supported='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'; \
	if ! $(BIN)/python -c "$$supported; import pip" >/dev/null 2>&1; then \
	  found=; \
	  for candidate in $(if $(PYTHON),"$(PYTHON)",python3.13 python3.12 python3.11 python3 python); do \
	    if "$$candidate" -c "$$supported" >/dev/null 2>&1; then found="$$candidate"; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo "error: no Python 3.11, 3.12 or 3.13 with venv and ensurepip found$(if $(PYTHON), (tried PYTHON=$(PYTHON)),);" \
	      "install one (on Debian and Ubuntu also its python3-venv) or name it: make PYTHON=/path/to/python3" >&2; \
	    exit 1; \
	  fi; \
	  echo "Making $(VENV) with $$($$found --version)"; \
	  "$$found" -m venv --clear $(VENV); \
	fi
	@echo "Installing from $(LOCK), which takes some minutes"
	@rm -f $(VENV)/.installed-*
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r $(LOCK)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(DOCS_TOOLS): | $(STAMP)
	@echo "Installing from $(DOCS_LOCK)"
	@rm -rf $(VENV)/docs-tools-*
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
	  --target $@.part -r $(DOCS_LOCK)
	@mv $@.part $@
