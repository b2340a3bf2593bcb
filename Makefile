# Two commands for everybody (demo, test); the rest is for those who change the product.
# Each sets itself up: a virtual environment in .venv from the hashed lock files.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=

.PHONY: demo test engine bench bench-check profile sanitize check lint types contracts format lock clean servers

demo: $(VENV)/.run-ready  ## the proxy with real SIP peers on loopback: make demo ARGS="--seconds 20"
	$(BIN)/edge-proxy demo $(ARGS)

test: $(VENV)/.dev-ready servers  ## every test; ARGS are pytest's
	@$(MAKE) --no-print-directory engine || echo "the engine is not compiled: these tests run the pure one" >&2
	$(BIN)/pytest $(ARGS)

engine: $(VENV)/.dev-ready servers  ## compile the call path (two minutes, and only when its files have changed)
	$(BIN)/python setup.py -q build_ext --inplace
	$(BIN)/python setup.py -q build_engine

bench: $(VENV)/.dev-ready servers  ## beside a null forwarder and Kamailio: 35 minutes; ARGS="--quick --only cost,delay"
	sh tests/install_servers.sh bench
	@$(MAKE) --no-print-directory engine || echo "the engine is not compiled: only the pure one is measured" >&2
	$(BIN)/python -m tests.bench $(ARGS)

bench-check: $(VENV)/.dev-ready  ## fails when a call costs over 10 % more than recorded; ARGS=--record to record anew
	sh tests/install_servers.sh bench
	$(BIN)/python -m tests.bench.check $(ARGS)

profile: $(VENV)/.dev-ready servers  ## where a call's instructions and processor time go, on both engines
	sh tests/install_servers.sh bench
	@$(MAKE) --no-print-directory engine || echo "the engine is not compiled: only the pure one is profiled" >&2
	$(BIN)/python -m tests.bench.profile $(ARGS)

sanitize: $(VENV)/.dev-ready servers  ## the compiled parts under AddressSanitizer with all that is hostile (ten minutes)
	sh tests/sanitize.sh

check: lint types contracts  ## every static check

lint: $(VENV)/.dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev-ready
	$(BIN)/mypy

contracts: $(VENV)/.dev-ready
	$(BIN)/lint-imports

format: $(VENV)/.dev-ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

servers:  ## the real peers the tests talk to, from Debian's packages, when root
	PYTHON=$(PYTHON) sh tests/install_servers.sh

lock: $(VENV)/.dev-ready  ## renew the lock files (needs uv on the PATH)
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	  --no-header -q -U --extra build pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
	  --no-header -q -U --extra build --extra dev pyproject.toml -o requirements-dev.lock

clean:
	rm -rf $(VENV) build dist edge_proxy/_engine edge_proxy/*/*.so *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis data

# An interpreter without venv (Debian packs it apart) gets it installed when root, else is told how.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "edge-proxy needs Python 3.11 or newer; run: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || sh tests/install_servers.sh venv
	$(PYTHON) -m venv $(VENV)

# Once more when a module in C has changed, since the install builds those.
$(VENV)/.run-ready: requirements.lock pyproject.toml setup.py $(wildcard edge_proxy/*/*.c edge_proxy/*/*.h) | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev-ready: requirements-dev.lock $(VENV)/.run-ready
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@
